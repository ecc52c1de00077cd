"""Commands about the universe of names: what they are, what they are worth, which are in it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scripts.app import EXIT_CODES, GLOBALS, Globals, app
from scripts.options import Json


class Leaders(StrEnum):
    RUSSELL = "russell"
    SP500 = "sp500"


class Timeframe(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YTD = "ytd"


RunOnce = Annotated[
    bool, typer.Option("--run-once", help="For schedulers: a refresh always runs once and ends.")
]
ListUrl = Annotated[str | None, typer.Option("--url", help="Where the list is. Default: settings.")]
ListFile = Annotated[
    Path | None, typer.Option("--file", metavar="CSV", help="A list downloaded before, instead.")
]
ListDate = Annotated[
    str | None, typer.Option(metavar="DATE", help="Date of a list that says none itself. Default: today.")
]


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def refresh_russell(
    context: typer.Context,
    run_once: RunOnce = False,
    url: ListUrl = None,
    file: ListFile = None,
    as_of: ListDate = None,
    json: Json = False,
) -> int:
    """Fetch the Russell 2000 as iShares publishes it and keep it by its date, beside all lists before it.

    A list that is cut short, implausible or no list is refused; the last good one stays.
    """
    return _refresh("russell-2000", context, url, file, as_of, json)


@app.command(name="refresh-sp500", epilog=f"{GLOBALS} {EXIT_CODES}")
def refresh_sp500(
    context: typer.Context,
    run_once: RunOnce = False,
    url: ListUrl = None,
    file: ListFile = None,
    as_of: ListDate = None,
    json: Json = False,
) -> int:
    """Fetch the constituents of the S&P 500 and keep them by date, beside all lists before them."""
    return _refresh("sp500", context, url, file, as_of, json)


def _refresh(
    key: str, context: typer.Context, url: str | None, file: Path | None, as_of: str | None, json: bool
) -> int:
    from scripts.refresh_index import run_refresh

    options: Globals = context.obj
    return run_refresh(
        key, url=url, file=file, as_of=as_of, json=json,
        settings_path=options.settings, defaults_path=options.defaults, force=options.force,
    )  # fmt: skip


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def refresh_fundamentals(
    context: typer.Context,
    symbols: Annotated[
        str | None,
        typer.Option(
            metavar="A,B|FILE",
            help="Symbols, or a file of them. Default: the seed list and all that is stored.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Ask about at most N; fresh ones do not count.")
    ] = None,
    throttle: Annotated[
        float,
        typer.Option(min=0, max=3600, metavar="SECONDS", help="At least so long between two requests."),
    ] = 0.0,
    json: Json = False,
) -> int:
    """Ask Yahoo, and Alpha Vantage for what it lacks, about companies; keep each answer with its moment.

    What is younger than fundamentals.cache_ttl_days is not asked for again, so a run that was interrupted
    goes on where it stopped. `backtest --fundamentals` reads the folder.
    """
    from scripts.refresh_fundamentals import run_refresh_fundamentals

    options: Globals = context.obj
    return run_refresh_fundamentals(
        symbols, limit=limit, throttle=throttle, json=json,
        settings_path=options.settings, defaults_path=options.defaults, force=options.force,
    )  # fmt: skip


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def momentum(
    context: typer.Context,
    index: Annotated[Leaders, typer.Argument(metavar="russell|sp500", help="The index.")],
    timeframe: Annotated[Timeframe, typer.Option(help="Change since when.")] = Timeframe.MONTH,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Rows of each list: 50, 100, 150, 200; else within 1 to 200.")
    ] = 50,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Price files. Default: what Yahoo's cache holds.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="PATH:SYMBOL", help="IWM or SPY, where the price files do not hold it."),
    ] = None,
    json: Json = False,
) -> int:
    """Risers and underperformers of an index against IWM or SPY, with relative volume and strategy scores."""
    from scripts.momentum import run_momentum

    options: Globals = context.obj
    return run_momentum(
        index.value, timeframe=timeframe.value, limit=limit, data=data, benchmark=benchmark, json=json,
        settings_path=options.settings, defaults_path=options.defaults, force=options.force,
    )  # fmt: skip


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def scan(
    context: typer.Context,
    symbols: Annotated[str | None, typer.Option(metavar="A,B", help="Candidates by symbol.")] = None,
    seed_candidates: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="List of candidates. Default: the one in storage.universe_dir."),
    ] = None,
    include_russell: Annotated[
        bool, typer.Option("--include-russell", help="Add the Russell 2000; see refresh-russell.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Screen the first N candidates alone.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Price files for price, volume and spread. Default: as stated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Also write the names that pass to this file.")
    ] = None,
    no_persist: Annotated[
        bool, typer.Option("--no-persist", help="Keep no snapshot of the screen in storage.universe_dir.")
    ] = False,
    email: Annotated[bool, typer.Option("--email", help="Mail the screen as settings.email says.")] = False,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="Use what was known on this day; ask no service.")
    ] = None,
    json: Json = False,
) -> int:
    """Screen candidates by market value, volume, spread, float, sector and exchange: which names?

    Services are asked about whatever is not fresh, within their limits. Ctrl-C keeps what they said, and the
    same command goes on from there. The limits are the settings universe_criteria.
    """
    from scripts.scan import ScanRequest, run_scan

    options: Globals = context.obj
    request = ScanRequest(
        symbols=symbols, seed_candidates=seed_candidates, include_russell=include_russell, limit=limit,
        data=data, output=output, persist=not no_persist, email=email, as_of=as_of, json=json,
    )  # fmt: skip
    return run_scan(
        request, settings_path=options.settings, defaults_path=options.defaults, force=options.force
    )


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def schedule_fundamentals(
    context: typer.Context,
    run_once: Annotated[
        bool, typer.Option("--run-once", help="Run one cycle now and end, for cron and Task Scheduler.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run although automation.fundamentals_refresh.enabled is off.")
    ] = False,
    sp500: Annotated[
        bool | None,
        typer.Option("--include-sp500/--skip-sp500", help="With the S&P 500, or not. Default: settings."),
    ] = None,
    russell: Annotated[
        bool | None,
        typer.Option("--include-russell/--skip-russell", help="With the Russell 2000. Default: settings."),
    ] = None,
    json: Json = False,
) -> int:
    """Refresh fundamentals and sector metadata by the schedule of automation.fundamentals_refresh.

    What does not reach its validation thresholds is refused: the last good sector_metadata.csv stays, and the
    exit code of --run-once is 1. Two refreshes never run at once.
    """
    from scripts.schedule_fundamentals import run_schedule

    options: Globals = context.obj
    return run_schedule(
        run_once=run_once, force=force, include_sp500=sp500, include_russell=russell, json=json,
        settings_path=options.settings, defaults_path=options.defaults, reload=options.force,
    )  # fmt: skip


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def doctor(
    context: typer.Context,
    send_test_email: Annotated[
        bool, typer.Option("--send-test-email", help="Also send a test message as settings.email says.")
    ] = False,
    json: Json = False,
) -> int:
    """Say what works on this machine: versions, settings and where they come from, data, services, mail.

    Exit code 1 if something that the settings ask for does not work. A service out of reach is not counted.
    """
    from scripts.doctor import run_doctor

    options: Globals = context.obj
    return run_doctor(
        send_test_email=send_test_email, json=json,
        settings_path=options.settings, defaults_path=options.defaults, force=options.force,
    )  # fmt: skip
