"""The command `momentum`: risers and underperformers of an index, from the panel store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config import load_settings
from engine.counted import counted
from engine.errors import DataError
from scripts.assembly import BacktestRequest, build_strategies, normalised_weights
from scripts.console import note
from scripts.progress import Progress, compiled_kernels, telling_of_compilation
from scripts.tables import console, print_line

if TYPE_CHECKING:
    from config.settings import Settings
    from feeds.panel import PanelFeed
    from universe.constituents import Membership
    from universe.momentum import Board, Mover, Score

KEYS = {"russell": "russell-2000", "sp500": "sp500"}


def run_momentum(
    which: str,
    *,
    timeframe: str = "month",
    limit: int = 50,
    data: Path | None = None,
    benchmark: str | None = None,
    json: bool = False,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
) -> int:
    """Run the command and return its exit code."""
    from scripts.index_feed import membership_of

    settings = load_settings(settings_path, defaults_path, force=force)
    known = compiled_kernels()
    membership = membership_of(KEYS[which], settings)
    prices = data or Path(settings.storage.price_cache_dir) / "yahoo"
    if data is None and not prices.expanduser().is_dir():
        raise DataError(f"{prices}: no prices are cached there; name a file or folder of them with --data")
    with telling_of_compilation(known):
        began = time.perf_counter()
        board, notes = leaders(
            membership, prices, settings, timeframe=timeframe, limit=limit, benchmark=benchmark
        )
        seconds = time.perf_counter() - began
    if json:
        _print_json(membership, board, notes, seconds)
    else:
        _print_report(membership, board, notes)
        note(f"{seconds:.2f} s")
    return 0


def leaders(
    membership: Membership, data: Path, settings: Settings, *, timeframe: str, limit: int,
    benchmark: str | None = None,
) -> tuple[Board, list[str]]:  # fmt: skip
    """Return the board and what a reader must know about it."""
    from scripts.sources import load_facts, split_benchmark
    from universe.momentum import Timeframe, board
    from universe.scores import rows_needed, score

    index = membership.index
    compared = split_benchmark(benchmark)
    feed, members = _prices(membership, data, settings, compared)
    strategies = build_strategies((), (), (), settings.strategy_weights)
    weights = normalised_weights(strategies, settings.strategy_weights)
    load_facts(BacktestRequest(), settings, feed.universe, strategies)
    n = min(feed.n_rows, rows_needed(strategies))
    bars = feed.rows(feed.n_rows - n, feed.n_rows)
    close = bars.benchmark[:, 0] if benchmark else _column(data, settings, index.fund, bars.ts)
    scores = score(feed.universe, bars, strategies, weights)
    baseline = compared[1].upper() if compared else index.fund
    found = board(
        feed.universe.symbols, feed.days[-n:], bars, Timeframe(timeframe), limit=limit, baseline=baseline,
        baseline_close=close, about={c: (x.name, x.sector) for c, x in _named(feed, members).items()},
        scores=scores.strategies, final=scores.final, missing=len(members) - len(feed.universe),
    )  # fmt: skip
    return found, _notes(membership, found, settings)


def _prices(
    membership: Membership, data: Path, settings: Settings, benchmark: tuple[Path, str] | None
) -> tuple[PanelFeed, Mapping[str, Any]]:
    """Return the prices of those who are members on the newest day of the data, and all members."""
    from datetime import date

    from feeds.sessions import iso_day
    from feeds.source import open_source
    from feeds.symbols import SymbolIndex

    with Progress(None, what="import") as progress:
        options: dict[str, Any] = {
            "adjustment": "split", "cache_dir": Path(settings.storage.panel_dir), "benchmark": benchmark,
            "progress": progress.importing,
        }  # fmt: skip
        whole = open_source(data, **options)
        newest = date.fromisoformat(iso_day(int(whole.days[-1])))
        members = membership.companies(newest)
        index = SymbolIndex(whole.universe.symbols)
        found = {place for symbol in members if (place := index.find(symbol)) is not None}
        if not found:
            raise DataError(f"{data}: holds no member of the {membership.index.label} of {newest}")
        chosen = [whole.universe.symbols[i] for i in sorted(found)]
        return open_source(data, **options, symbols=chosen), members


def _named(feed: PanelFeed, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list says of each column, however it spells share classes."""
    from feeds.symbols import SymbolIndex

    index, companies = SymbolIndex(members), list(members.values())
    places = ((symbol, index.find(symbol)) for symbol in feed.universe.symbols)
    return {symbol: companies[place] for symbol, place in places if place is not None}


def _column(data: Path, settings: Settings, symbol: str, ts: Any) -> Any:
    """Return the closes of a symbol of the same data at each of `ts`, NaN where it has none."""
    from feeds.source import open_source

    closes = np.full(len(ts), np.nan)
    try:
        feed = open_source(
            data, adjustment="split", cache_dir=Path(settings.storage.panel_dir), symbols=[symbol]
        )
    except DataError:  # The data are of the index's names alone
        return closes
    bars = feed.rows(0, feed.n_rows)
    at = np.minimum(np.searchsorted(bars.ts, ts), feed.n_rows - 1)
    same = bars.ts[at] == ts
    closes[same] = bars.close[at[same], 0]
    return closes


def _notes(membership: Membership, board: Board, settings: Settings) -> list[str]:
    from datetime import date

    as_of = date.fromisoformat(board.as_of)
    notes = []
    if as_of < membership.known_from:
        notes.append(
            f"members: no list is as old as {board.as_of}; that of {membership.lists[0].as_of} stands in"
        )
    if board.baseline_change is None:
        notes.append(
            f"no {board.baseline} in these prices, so no excess over it; --benchmark PATH:{board.baseline}"
        )
    if not (settings.fundamentals.csv_path or settings.fundamentals.json_dir):
        fetched = Path(settings.storage.universe_dir) / "fundamentals"
        there = fetched.expanduser().is_dir()
        notes.append(
            "can_slim is scored without earnings: fundamentals.json_dir names none"
            + (f"; those that refresh-fundamentals fetched are in {fetched}" if there else "")
        )
    return notes


def _print_json(membership: Membership, board: Board, notes: Sequence[str], seconds: float) -> None:
    from reports.manifest import to_json

    def told(mover: Mover) -> dict[str, Any]:
        scores = {name: score._asdict() if score else None for name, score in mover.scores.items()}
        return {**mover._asdict(), "scores": scores}

    outcome = {
        **board._asdict(),
        "universe": membership.index.key,
        "risers": [told(mover) for mover in board.risers],
        "underperformers": [told(mover) for mover in board.underperformers],
        "notes": list(notes),
        "seconds": round(seconds, 4),
    }
    print(to_json(outcome, indent=None), end="")


def _print_report(membership: Membership, board: Board, notes: Sequence[str]) -> None:
    change = "-" if board.baseline_change is None else f"{board.baseline_change:+.1%}"
    print_line(
        f"{membership.index.label}, {board.timeframe.value} to {board.as_of}:"
        f" {counted(board.evaluated, 'names')}, {board.baseline} {change}"
    )
    left_out = ", ".join(f"{n:,} {why}" for why, n in board.skipped.items() if n)
    if left_out:
        print_line(f"left out: {left_out}")
    for line in notes:
        print_line(line)
    for title, movers in (("risers", board.risers), ("underperformers", board.underperformers)):
        print_line("")
        _print_movers(title, movers)


def _print_movers(title: str, movers: Sequence[Mover]) -> None:
    from rich.table import Table

    from strategies.registry import SHORT_NAMES

    short = {name: brief for brief, name in SHORT_NAMES.items()}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    if not movers:
        print_line(f"{title}: none")
        return
    print_line(title)
    names = list(movers[0].scores)
    table.add_column("", no_wrap=True)
    for column in ("change", "excess", "last", "volume", "x avg", "score"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in names:
        table.add_column(short.get(name, name), justify="right", no_wrap=True)
    for mover in movers:
        table.add_row(
            mover.symbol, f"{mover.change:+.1%}", _cell(mover.excess, "+.1%"), f"{mover.last:.2f}",
            _thousands(mover.volume), _cell(mover.relative_volume, ".1f"),
            _cell(mover.final_score, ".1f"), *(_signal(mover.scores[name]) for name in names),
        )  # fmt: skip
    console().print(table)


def _thousands(volume: float) -> str:
    return f"{volume / 1e6:.1f}M" if volume >= 1e6 else f"{volume / 1e3:.0f}K"


def _cell(value: float | None, shape: str) -> str:
    return "-" if value is None else format(value, shape)


def _signal(score: Score | None) -> str:
    """Return a confidence, negative for a SELL; nothing without a signal, - where none is possible."""
    if score is None:
        return "-"
    return {"BUY": f"{score.confidence:.2f}", "SELL": f"-{score.confidence:.2f}"}.get(score.side, "")
