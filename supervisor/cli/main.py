"""The command `viaduct`. All but typer is imported when a command needs it, so that the shell completes at once."""

import os
import sys
from typing import Annotated

import typer

from supervisor.cli import ds, ul
from supervisor.cli.common import ConfigOption, JsonOption, SocketOption, ask
from supervisor.cli.output import EXIT_FAILED, duration, fail, octets, plain, print_json, print_table
from supervisor.version import installed_version

ARBITER = "supervisor.arbiter"
PROCESS_COLUMNS = ("process", "pid>", "cpu %>", "memory>", "messages>", "restarts>", "up>", "state")

HELP = """A SIP load balancer, proxy and registrar.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no edge answers."""

# What people type who come from OpenSIPS and Kamailio: accepted, with a word about ours.
PEERS = {
    "ds_list": ("ds", "list"),
    "ds_reload": ("ds", "reload"),
    "ul_dump": ("ul", "show"),
    "ul_show_contact": ("ul", "show"),
    "ul_rm": ("ul", "rm"),
    "get_statistics": ("stats",),
    "log_level": ("log-level",),
    "start": ("run",),
    "status": ("ps",),
}

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(ds.app, name="ds")
app.add_typer(ul.app, name="ul")
app.add_typer(ds.app, name="dispatcher", hidden=True)  # kamctl's name


@app.command()
def run(config: ConfigOption = None) -> None:
    """Start the edge in the foreground (default FILE: $VIADUCT_CONFIG, else /etc/viaduct/viaduct.toml)."""
    from supervisor import config as configuration  # noqa: PLC0415

    path = os.path.abspath(config or configuration.default_path())
    try:
        configuration.load(path)
    except configuration.ConfigError as error:
        fail(str(error))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", ARBITER, "-c", path])


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check the configuration and the list of destinations; print every mistake with its line."""
    from supervisor.cli.check import checked  # noqa: PLC0415

    found = checked(config)
    if json:
        print_json(found)
    else:
        for line in (*found["mistakes"], *(f"warning: {warning}" for warning in found["warnings"])):
            print(plain(line), file=sys.stderr)
        if found["ok"]:
            print(f"{found['path']}: good, {found['destinations']} destinations")
    if not found["ok"]:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def ps(socket: SocketOption = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show the processes with CPU, memory, messages and restarts."""
    result = ask(socket, config, "ps")
    if json:
        print_json(result)
        return
    print_table(
        PROCESS_COLUMNS,
        [
            (one["Type"], one["PID"], one.get("cpu_percent"), octets(one.get("rss")), one.get("messages"))
            + (one.get("restarts"), duration(one.get("uptime_s")), one.get("state"))
            for one in result["Processes"]
        ],
        "no processes",
    )


@app.command()
def stats(
    pattern: Annotated[str, typer.Argument(help="A name, or a pattern such as 'calls*'.")] = "all",
    socket: SocketOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the counters, summed over the workers."""
    result = ask(socket, config, "get_statistics", {"statistics": [pattern]})
    if json:
        print_json(result)
    else:
        print_table(("counter", "value>"), sorted(result.items()), "no counters")


@app.command("log-level")
def log_level(
    level: Annotated[str | None, typer.Argument(help="debug, info, warning or error.", show_default=False)] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Change what the supervisor and the workers log, at once; without LEVEL, show it."""
    print(plain(ask(socket, config, "log_level", {"level": level} if level else {})["log_level"]))


@app.command()
def mi(
    method: Annotated[str, typer.Argument(help="A method of the admin API; `which` lists them.")],
    params: Annotated[
        list[str] | None, typer.Argument(help="In order, or all as name=value.", show_default=False)
    ] = None,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Call a method of the admin API, as `opensips-cli -x mi` does, and print its JSON."""
    print_json(ask(socket, config, method, parameters(params or [])))


@app.command()
def version(json: JsonOption = False) -> None:
    """Show the version of this command."""
    if json:
        print_json({"version": installed_version()})
    else:
        print(f"Viaduct {installed_version()}")


def parameters(params: list[str]) -> dict[str, str] | list[str]:
    """ "name=value" for all makes an object; anything else (a URI may hold "=") is taken in order."""
    named = [param.partition("=") for param in params]
    if params and all(equals and name.isidentifier() for name, equals, _ in named):
        return {name: value for name, _, value in named}
    return params


def main() -> None:
    """The entry point."""
    words = sys.argv[1:]
    if words and words[0] in PEERS:
        ours = PEERS[words[0]]
        print(f"viaduct: {words[0]} is `viaduct {' '.join(ours)}` here", file=sys.stderr)
        words[:1] = ours
    app(args=words, prog_name="viaduct")


if __name__ == "__main__":
    main()
