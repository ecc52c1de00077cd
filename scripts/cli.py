"""The command line: `python main.py COMMAND`, or `smallcap COMMAND` once installed.

These modules (`scripts.cli*`) only declare options and turn outcomes into exit codes. They import nothing
heavy, so that `--help` answers at once: what a command needs is imported when the command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts import cli_alerts, cli_live, cli_universe
from scripts.app import EXIT_CODES, GLOBALS, USAGE, Globals, app
from scripts.arguments import left_empty, normalised, not_text, split_names
from scripts.console import FAILURE, note, report_error, report_usage, start_logging
from scripts.entry import INTERRUPTED
from scripts.options import (
    Benchmark,
    Capital,
    Data,
    End,
    Fundamentals,
    IndexMembers,
    Json,
    Params,
    PriceBasis,
    Sectors,
    Start,
    Strategies,
    StrategyModules,
    Strict,
    Symbols,
    SymbolsFile,
    TradingMode,
)


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def backtest(
    context: typer.Context,
    symbol: Symbols = None,
    symbols: SymbolsFile = None,
    universe: IndexMembers = None,
    data: Data = None,
    sectors: Sectors = None,
    start: Start = None,
    end: End = None,
    strategies: Strategies = None,
    mode: TradingMode = None,
    capital: Capital = None,
    benchmark: Benchmark = None,
    benchmark_weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The benchmark's holdings (iShares export) or sectors with weights: adds selection and"
            " allocation effects.",
        ),
    ] = None,
    param: Params = None,
    fundamentals: Fundamentals = None,
    strategy_module: StrategyModules = None,
    adjustment: PriceBasis = None,
    output_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the CSV files and run.json.")
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print the tear sheet to tearsheet.pdf (needs Chromium).")
    ] = False,
    email: Annotated[
        bool,
        typer.Option(
            "--email",
            help="Mail the summary as settings.email says; if that fails, results stand and the code is 1.",
        ),
    ] = False,
    slab: Annotated[
        int, typer.Option(min=1, metavar="K", help="Rows per slab; results do not depend on it.")
    ] = 1024,
    strict: Strict = False,
    json: Json = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the synthetic market.")] = 7,
) -> int:
    """Replay strategies over history through the gate, the broker and the ledger.

    With no data option it runs a synthetic small-cap market: no file and no network needed.
    """
    from scripts.assembly import BacktestRequest
    from scripts.backtest import run_backtest

    request = BacktestRequest(
        symbols=tuple(split_names(symbol)),
        symbols_file=symbols,
        universe=universe.value if universe else None,
        data=data,
        sectors=sectors,
        start=start,
        end=end,
        strategies=tuple(split_names(strategies)),
        mode=mode.value if mode else None,
        capital=capital,
        benchmark=benchmark,
        benchmark_weights=benchmark_weights,
        params=tuple(param or ()),
        fundamentals=fundamentals,
        strategy_modules=tuple(strategy_module or ()),
        adjustment=adjustment.value if adjustment else None,
        output_dir=output_dir,
        pdf=pdf,
        email=email,
        slab_rows=slab,
        strict=strict,
        json=json,
        seed=seed,
    )
    options: Globals = context.obj
    try:
        return run_backtest(
            request, settings_path=options.settings, defaults_path=options.defaults, force=options.force
        )
    except KeyboardInterrupt as interrupt:  # Here, because Typer would end without a word
        return _interrupted(interrupt)


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def audit(
    context: typer.Context,
    symbol: Symbols = None,
    symbols: SymbolsFile = None,
    data: Data = None,
    start: Start = None,
    end: End = None,
    strategies: Strategies = None,
    param: Params = None,
    benchmark: Benchmark = None,
    fundamentals: Fundamentals = None,
    strategy_module: StrategyModules = None,
    adjustment: PriceBasis = None,
    cuts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows after which the future is changed and removed.")
    ] = 300,
    strict: Strict = False,
    json: Json = False,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the cuts, made-up futures and synthetic market.")
    ] = 7,
) -> int:
    """Prove that strategies see no future, and forget where history began. Exit code 1 if one does not.

    What is said of each bar alone is compared with what is said in slabs, the future changed and removed.
    """
    from scripts.assembly import BacktestRequest
    from scripts.audit import run_audit

    request = BacktestRequest(
        symbols=tuple(split_names(symbol)),
        symbols_file=symbols,
        data=data,
        start=start,
        end=end,
        strategies=tuple(split_names(strategies)),
        params=tuple(param or ()),
        benchmark=benchmark,
        fundamentals=fundamentals,
        strategy_modules=tuple(strategy_module or ()),
        adjustment=adjustment.value if adjustment else None,
        strict=strict,
        json=json,
        seed=seed,
    )
    options: Globals = context.obj
    return run_audit(
        request,
        n_cuts=cuts,
        settings_path=options.settings,
        defaults_path=options.defaults,
        force=options.force,
    )


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of finished runs.")],
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Write the comparison (of one run: its tear sheet) as one HTML file."
        ),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print the run's tear sheet to tearsheet.pdf (needs Chromium).")
    ] = False,
    json: Json = False,
) -> int:
    """Print finished runs again from their files; several side by side, with the settings that differ.

    Folders that the original tool wrote can be read too.
    """
    from scripts.report import run_report

    return run_report(directories, html=html, pdf=pdf, json=json)


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def why(
    context: typer.Context,
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="The symbol to tell about.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that backtest wrote.")],
    date: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="One day, and which condition failed where there was no signal."),
    ] = None,
    json: Json = False,
) -> int:
    """Tell a symbol's life in a run: signals, what the gate said, orders, fills, stops, trades."""
    from scripts.why import run_why

    options: Globals = context.obj
    return run_why(
        symbol,
        directory,
        date=date,
        json=json,
        settings_path=options.settings,
        defaults_path=options.defaults,
        force=options.force,
    )


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def notebook(
    dest: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The copy. Default: notebooks/trading_dashboard.ipynb."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of a run. Default: the latest in out/ or reports/backtests/."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a copy that is there.")] = False,
) -> int:
    """Copy the analysis notebook, wired to a run: equity, attribution, sectors, a trade explorer.

    Its figures need the extra `notebook`: pip install -e ".[notebook]".
    """
    from scripts.notebook import DESTINATION, run_notebook

    return run_notebook(dest or DESTINATION, run=run, force=force)


# Commands of the original tool that are none here
_INSTEAD = {"update-strategy-metrics": "strategies weigh what the settings strategy_weights say"}
# Importing them registers their commands
__all__ = ["app", "cli_alerts", "cli_live", "cli_universe", "run"]


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    words = normalised(arguments)
    verbose = "--verbose" in words
    start_logging(verbose)
    if word := not_text(words):
        report_usage(f"{word} is not UTF-8; rename it")
        return USAGE
    if option := left_empty(words):
        report_usage(f"{option} has an empty value; is a variable not set?")
        return USAGE
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        return int(command(words, prog_name=_program(), standalone_mode=False) or 0)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        report_usage(_message(error), help_command=context.command_path if context else None)
        return int(error.exit_code)
    except BaseException as error:  # SystemExit too: a strategy of the user's may raise it
        if isinstance(error.__context__, BrokenPipeError):  # Typer and Rich: who read the output has gone
            return FAILURE
        return report_error(error, verbose=verbose)


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    """Say what is left of an interrupted command: nothing, unless the interrupt says so itself."""
    note(f"interrupted; {str(interrupt) or 'nothing was kept'}")
    return INTERRUPTED


def _message(error: typer.TyperException) -> str:
    """Return what was wrong, with the value; for an unknown option with the one spelled most like it."""
    near = getattr(error, "possibilities", None)
    unknown = getattr(error, "option_name", None)
    if not near or not unknown:
        message = error.format_message().replace("Value error, ", "", 1)  # Typer checks values with Pydantic
        for name, instead in _INSTEAD.items():
            if f"No such command {name!r}" in message:
                return f"no command {name}: {instead}"
        cause: Any = error.__cause__
        value = repr(cause.errors()[0]["input"]) if hasattr(cause, "errors") else ""
        return message if value in message else f"{message}, was {value}"
    closest = max(near, key=lambda option: SequenceMatcher(None, unknown, option).ratio())
    return f"{error.message}; did you mean {closest}?"


def _program() -> str:
    return "smallcap" if Path(sys.argv[0]).stem == "smallcap" else "python main.py"
