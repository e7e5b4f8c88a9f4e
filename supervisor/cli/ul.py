"""`viaduct ul`: who is registered."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from supervisor.cli.common import ConfigOption, JsonOption, SocketOption, ask, ask_all
from supervisor.cli.output import fail, print_json, print_table

PAGE = 1000  # AORs asked for at once, so that no answer holds the supervisor
COLUMNS = ("address", "contact", "expires s>", "q>", "received", "agent")

app = typer.Typer(help="The registrations: show, rm.", no_args_is_help=True, rich_markup_mode=None)
AorArgument = Annotated[str, typer.Argument(metavar="AOR", help="An address such as 1000@example.com.")]


@app.command()
def show(
    aor: Annotated[str | None, typer.Argument(metavar="[AOR]", help="Only this address.", show_default=False)] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the bindings of all addresses, or of one."""
    call = ask_all(socket, config)
    aors = list(pages(call)) if aor is None else [call("ul_show_contact", {"aor": address(aor)})]
    if json:
        print_json(aors[0] if aor is not None else {"Domains": [{"name": "location", "AORs": aors}]})
        return
    print_table(COLUMNS, [row for each in aors for row in rows_of(each)], "nobody is registered")


@app.command()
def rm(
    aor: AorArgument,
    contact: Annotated[
        str | None, typer.Argument(metavar="[CONTACT]", help="Only this URI.", show_default=False)
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove all bindings of an address, or one of them."""
    if contact == "":
        fail("CONTACT: found nothing, expected a URI; leave it out to remove all bindings of the address")
    if contact is None:
        result = ask(socket, config, "ul_rm", {"aor": address(aor), "full": True})
    else:
        result = ask(socket, config, "ul_rm_contact", {"aor": address(aor), "contact": contact, "full": True})
    print(f"{result['removed']} removed")


def pages(call: Callable[[str, dict[str, Any]], Any]) -> Iterator[dict[str, Any]]:
    """All AORs, a page at a time."""
    offset = 0
    while True:
        dump = call("ul_dump", {"offset": offset, "limit": PAGE})
        aors = dump["Domains"][0]["AORs"]
        yield from aors
        offset += PAGE
        if not aors or offset >= dump["Total"]:
            return


def rows_of(aor: dict[str, Any]) -> list[tuple[Any, ...]]:
    if not aor["Contacts"]:
        return [(aor["AOR"], "(offline)", None, None, None, None)]
    return [
        (aor["AOR"], one["Contact"], one["Expires"], one["Q"], one["Received"], one["User-agent"])
        for one in aor["Contacts"]
    ]


def address(aor: str) -> str:
    """As the table has it: people paste sip:1000@example.com too."""
    return aor.removeprefix("sips:").removeprefix("sip:")
