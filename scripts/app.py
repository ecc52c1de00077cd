"""The application that every command registers with, and what all commands share. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

USAGE = 2
EXIT_CODES = (
    "Exit codes: 0 done, 1 failure, 2 wrong usage, 65 bad data, 69 optional package missing, "
    "70 internal error, 78 configuration error, 130 interrupted (what was finished is kept)."
)
GLOBALS = "--settings, --defaults, --force-config-reload and --verbose work before and after the command."


class Globals(NamedTuple):
    """Options of every command."""

    settings: Path | None
    defaults: Path | None
    force: bool
    verbose: bool


class Commands(TyperGroup):
    """Commands that help lists with a whole sentence each: Typer's own cuts it to one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = {name: self.commands[name] for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(1_000)) for name, one in listed.items()])


app = typer.Typer(
    name="smallcap",
    cls=Commands,
    help="Research and monitoring of small-cap growth equities: replay strategies, measure them, watch them.",
    epilog=EXIT_CODES,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def global_options(
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Option(metavar="PATH", help="User settings (JSON) over the defaults.")
    ] = None,
    defaults: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Default settings (JSON) to start from.")
    ] = None,
    force_config_reload: Annotated[
        bool, typer.Option("--force-config-reload", help="Read the settings from disk again.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log in detail; show tracebacks of errors.")
    ] = False,
) -> None:
    context.obj = Globals(settings, defaults, force_config_reload, verbose)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)
