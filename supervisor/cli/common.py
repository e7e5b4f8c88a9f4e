"""What all commands share: the options that choose an instance, and talking to it."""

from typing import Annotated, Any

import typer

from supervisor.cli.output import EXIT_UNREACHABLE, fail

SocketOption = Annotated[
    str | None, typer.Option("-s", "--socket", help="The edge's admin socket.", metavar="PATH", show_default=False)
]
ConfigOption = Annotated[
    str | None, typer.Option("-c", "--config", help="The edge's viaduct.toml.", metavar="FILE", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of a table.")]


def ask(socket: str | None, config: str | None, method: str, params: dict[str, Any] | list[Any] | None = None) -> Any:
    """The result of one call to the chosen instance; ends the command with a sentence when there is none."""
    return ask_all(socket, config)(method, params)


def ask_all(socket: str | None, config: str | None):
    """call(method, params) to the chosen instance, for commands that ask more than once."""
    from supervisor.cli import client  # noqa: PLC0415
    from supervisor.config import ConfigError  # noqa: PLC0415

    try:
        chosen = client.Client(client.find_socket(socket, config))
    except ConfigError as error:
        fail(str(error))
    except client.Unreachable as error:
        fail(f"viaduct: {error}", EXIT_UNREACHABLE)

    def call(method: str, params: dict[str, Any] | list[Any] | None = None) -> Any:
        try:
            return chosen.call(method, params)
        except client.Unreachable as error:
            fail(f"viaduct: {error}", EXIT_UNREACHABLE)
        except client.Refused as error:
            fail(str(error))

    return call
