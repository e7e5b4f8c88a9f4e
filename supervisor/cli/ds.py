"""`viaduct ds`: the sets of destinations."""

import sys
from typing import Annotated

import typer

from supervisor.cli.common import ConfigOption, JsonOption, SocketOption, ask
from supervisor.cli.output import plain, print_json, print_table

COLUMNS = (
    "set>",
    "destination",
    "state",
    "weight>",
    "priority>",
    "calls>",
    "attempts>",
    "failures>",
    "probe ms>",
    "why",
)
STATES = (
    "active, trying, inactive, draining (no new calls) or disabled (not probed either); or a letter, see docs/cli.md"
)

app = typer.Typer(
    help="The sets of destinations: list, reload, set-state.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(
    set_id: Annotated[int | None, typer.Argument(metavar="[SET]", help="Only this set.", show_default=False)] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the destinations with their state, weight and calls."""
    result = ask(socket, config, "ds_list", {"full": True})
    sets = [each for partition in result["PARTITIONS"] for each in partition["SETS"] if set_id in (None, each["id"])]
    if json:
        print_json({"PARTITIONS": [{"name": "default", "SETS": sets}]})
        return
    rows = [(each["id"], one) for each in sets for one in each["Destinations"]]
    print_table(
        COLUMNS,
        [
            (
                number,
                one["URI"],
                one.get("status", one["state"]),
                one.get("weight"),
                one.get("priority"),
                one.get("calls"),
            )
            + (one.get("attempts"), one.get("failures"), one.get("latency_ms"), one.get("reason"))
            for number, one in rows
        ],
        "no destinations" if set_id is None else f"no destinations in set {set_id}",
    )


@app.command()
def reload(socket: SocketOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Read the list again while calls run; a list with mistakes is refused whole."""
    result = ask(socket, config, "ds_reload", {"full": True})
    if json:
        print_json(result)
        return
    print(f"+{count(result['added'])} -{count(result['removed'])} ~{count(result['changed'])}")
    for warning in result.get("warnings", []):
        print(plain(str(warning)), file=sys.stderr)


@app.command("set-state")
def set_state(
    set_id: Annotated[int, typer.Argument(metavar="SET", help="The number of the set.")],
    uri: Annotated[str, typer.Argument(metavar="URI", help="The destination as in the list.")],
    state: Annotated[str, typer.Argument(metavar="STATE", help=STATES)],
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Change the state of one destination."""
    ask(socket, config, "ds_set_state", {"state": state, "group": set_id, "address": uri})
    print("OK")


def count(value: int | list[object]) -> int:
    return len(value) if isinstance(value, list) else value
