"""Commands about alerts: of the live monitor, and of a portfolio stored in files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.app import EXIT_CODES, GLOBALS, USAGE, Commands, Globals, app
from scripts.options import Json

HEALTH_CODES = "Exit codes: 0 healthy, 1 breached, 2 could not evaluate (or wrong usage), 130 interrupted."

alerts = typer.Typer(
    name="alerts",
    cls=Commands,
    help="The live monitor's alerts: list them, acknowledge them, silence them.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(alerts)

Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Store of the monitor. Default: settings.")
]
Rule = Annotated[
    str, typer.Argument(metavar="RULE", help="drawdown, sector, stale_name, ... (alerts list), or all.")
]
Subject = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="A sector, a symbol, ... Default: all of it.")
]


@alerts.callback()
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(USAGE)


@alerts.command("list", epilog=f"{GLOBALS} {EXIT_CODES}")
def list_(context: typer.Context, store: Store = None, json: Json = False) -> int:
    """Print the alerts that are open, worst first, and the silences."""
    from scripts.alerts import list_alerts

    return list_alerts(_store(context, store), json=json)


@alerts.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def ack(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="First letters of the alert's key.")],
    store: Store = None,
) -> int:
    """Stop the reminders of an alert until it grows worse."""
    from scripts.alerts import acknowledge

    return acknowledge(_store(context, store), key)


@alerts.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def silence(
    context: typer.Context,
    rule: Rule,
    subject: Subject = "*",
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="30m, 4h or 2d.")] = "4h",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Shown by alerts list.")] = "",
    store: Store = None,
) -> int:
    """Mail nothing about a rule, or one subject of it, for a while. It is recorded all the same."""
    from scripts.alerts import silence

    return silence(_store(context, store), rule, subject, duration, reason)


@alerts.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def unsilence(context: typer.Context, rule: Rule, subject: Subject = "*", store: Store = None) -> int:
    """End a silence before its time."""
    from scripts.alerts import unsilence

    return unsilence(_store(context, store), rule, subject)


@alerts.command(epilog="Exit codes: 0 well, 1 not well or no sign of life, 2 wrong usage.")
def check(context: typer.Context, store: Store = None) -> int:
    """Say whether the monitor is alive and well, from the file that it writes every 5 minutes."""
    from scripts.alerts import check_heartbeat

    return check_heartbeat(_store(context, store))


def _store(context: typer.Context, store: Path | None) -> Path:
    from scripts.alerts import store_of

    options: Globals = context.obj
    return store_of(store, options.settings, options.defaults)


@app.command(epilog=f"{GLOBALS} {HEALTH_CODES}")
def health(
    context: typer.Context,
    equity: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Equity by date. Default: equity_curve.csv in storage.portfolio_dir."
        ),
    ] = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Symbol, sector, and market value or shares and price. Default: positions.csv beside it.",
        ),
    ] = None,
    email: Annotated[
        bool, typer.Option("--email", help="Mail what is breached, as settings.email says.")
    ] = False,
    json: Json = False,
) -> int:
    """Judge a portfolio stored in files: drawdowns, sectors and single names against their limits."""
    from scripts.health import run_health

    options: Globals = context.obj
    return run_health(
        equity,
        positions,
        email=email,
        json=json,
        settings_path=options.settings,
        defaults_path=options.defaults,
        force=options.force,
        verbose=options.verbose,
    )
