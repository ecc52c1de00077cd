"""The `audit` command: whether strategies see the future, or depend on where history begins."""

from __future__ import annotations

import asyncio
import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config import load_settings
from engine.counted import counted
from engine.errors import DataError
from scripts.assembly import BacktestRequest, build_strategies
from scripts.console import note, prints_beside_results
from scripts.progress import compiled_kernels, telling_of_compilation
from scripts.tables import console, print_line

if TYPE_CHECKING:
    from pathlib import Path

    from engine.slab import Bars, Feed
    from reports.audit import Audit, Factory, Verdict
    from reports.history import HistoryResult
    from strategies.base import Strategy

CLEAN, GUILTY = 0, 1
_KINDS = {
    "perturbed": "says otherwise when later bars are changed",
    "removed": "says otherwise when later bars are removed",
    "bar_by_bar": "says otherwise in a slab than bar by bar",
    "restored": "says otherwise after state() and restore(): its state is incomplete",
    "history": "says otherwise when history starts later, however long ago that was",
}


@dataclass(frozen=True)
class Judged:
    """A verdict and where its offence comes from, as text."""

    verdict: Verdict
    inputs: list[str]
    seconds: float


def run_audit(
    request: BacktestRequest,
    *,
    n_cuts: int = 300,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
) -> int:
    """Run the command and return its exit code: 0 if every strategy is proven clean."""
    began = time.perf_counter()
    settings = load_settings(settings_path, defaults_path, force=force)
    known = compiled_kernels()
    from reports.audit import Audit
    from scripts.sources import open_feed

    with prints_beside_results():
        strategies = build_strategies(
            request.strategies, request.params, request.strategy_modules, settings.strategy_weights
        )
        feed = open_feed(request, settings)
        facts = dated_facts(request, settings, feed, strategies)
        bars = whole(feed)
        if bars.n_rows < 3:
            raise DataError(f"an audit needs 3 rows of bars or more, the data have {bars.n_rows}")
        audit = Audit(feed.universe, bars, n_cuts=n_cuts, seed=request.seed)
        with telling_of_compilation(known):
            judged = [_judge(audit, _factory(strategy, facts)) for strategy in strategies]
    seconds = time.perf_counter() - began
    if request.json:
        _print_json(judged, audit, feed, seconds)
    else:
        _print_report(judged, audit, feed, seconds)
    return CLEAN if all(each.verdict.word == "clean" for each in judged) else GUILTY


def whole(feed: Feed) -> Bars:
    """Return all bars of a feed as one slab."""
    from engine.slab import join

    async def read() -> list[Bars]:
        return [slab async for slab in feed.slabs(1 << 30)]

    slabs = asyncio.run(read())
    if not slabs:
        raise DataError("the feed holds no bars for these symbols and days")
    return slabs[0] if len(slabs) == 1 else join(slabs)


def dated_facts(request: BacktestRequest, settings: Any, feed: Feed, strategies: list[Strategy]) -> Any:
    """Return the dated facts that `backtest` would give its strategies, None without any."""
    from scripts.sources import load_facts

    class Taker:
        rows: Any = None

        def use_facts(self, rows: Any) -> None:
            self.rows = rows

    taker: Any = Taker()
    load_facts(
        request, settings, feed.universe, [taker] if any(hasattr(s, "use_facts") for s in strategies) else []
    )
    return taker.rows


def _factory(strategy: Strategy, facts: Any) -> Factory:
    def make(known_until: int | None) -> Strategy:
        made: Any = copy.deepcopy(strategy)
        if facts is not None and hasattr(made, "use_facts"):
            made.use_facts(facts if known_until is None else facts[facts["available_ns"] <= known_until])
        fresh: Strategy = made
        return fresh

    return make


def _judge(audit: Audit, make: Factory) -> Judged:
    began = time.perf_counter()
    verdict = audit.of(make)
    return Judged(verdict, [str(lead) for lead in audit.traced(verdict)], time.perf_counter() - began)


def _print_json(judged: list[Judged], audit: Audit, feed: Feed, seconds: float) -> None:
    from reports.files import Dates
    from reports.manifest import to_json

    dates = Dates(audit.futures.real.ts)
    outcome = {
        "source": getattr(feed, "source", ""),
        "fingerprint": getattr(feed, "fingerprint", None),
        "rows": audit.futures.n_rows,
        "symbols": len(feed.universe),
        "strategies": {each.verdict.name: _described(each, feed, dates) for each in judged},
        "seconds": round(seconds, 4),
    }
    print(to_json(outcome, indent=None), end="")


def _described(each: Judged, feed: Feed, dates: Any) -> dict[str, Any]:
    verdict, history = each.verdict, each.verdict.history
    found: dict[str, Any] = {
        "verdict": verdict.word,
        "signals": verdict.n_signals,
        "cuts": verdict.n_cuts,
        "rows_bar_by_bar": verdict.n_rows,
        "offence": None,
        "unproven": verdict.unproven or None,
        "history": None,
        "seconds": round(each.seconds, 4),
    }
    if verdict.finding:
        where = verdict.finding.difference
        found["offence"] = {
            "kind": verdict.finding.kind,
            "date": _date(dates, where.ts),
            "symbol": feed.universe.symbols[where.symbol],
            "field": where.field,
            "true": where.one,
            "said": where.other,
            "inputs": each.inputs,
            "counts": dict(verdict.counts),
        }
    if history:
        found["history"] = {
            "warmup_bars": history.warmup_bars,
            "settled_bars": history.settled_bars,
            "fading": history.is_fading,
            "starts": history.n_starts,
            "decay": {
                str(bars): gap if gap < float("inf") else "signals" for bars, gap in history.decay.items()
            },
        }
    return found


def _print_report(judged: list[Judged], audit: Audit, feed: Feed, seconds: float) -> None:
    from rich.table import Table

    from reports.files import Dates

    dates = Dates(audit.futures.real.ts)
    print_line(str(getattr(feed, "source", "")))
    print_line(
        f"{counted(audit.futures.n_rows, 'rows')} x {counted(len(feed.universe), 'symbols')},"
        f" {counted(len(audit.cuts), 'cuts')}\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=80)
    table.add_column("", ratio=1, overflow="fold")
    for title in ("verdict", "signals", "cuts", "rows", "warm-up", "settled"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in judged:
        verdict, history = each.verdict, each.verdict.history
        table.add_row(
            verdict.name, verdict.word, f"{verdict.n_signals:,}", f"{verdict.n_cuts:,}",
            f"{verdict.n_rows:,}", f"{history.warmup_bars:,}" if history else "-",
            _settled(history),
        )  # fmt: skip
    console().print(table)
    print_line("")
    for each in judged:
        _print_offence(each, feed, dates)
        _print_decay(each)
    print_line(
        "cuts: later bars changed and removed; rows: bar by bar against slabs; settled: bars after which"
        " a later start of history changes no number by more than 1e-9"
    )
    note(f"{seconds:.1f} s")


def _settled(history: HistoryResult | None) -> str:
    if history is None or (history.settled_bars is None and not history.is_fading):
        return "-"
    return f"> {max(history.decay):,}" if history.settled_bars is None else f"{history.settled_bars:,}"


def _print_offence(each: Judged, feed: Feed, dates: Any) -> None:
    verdict = each.verdict
    if verdict.finding:
        where, kind = verdict.finding.difference, verdict.finding.kind
        print_line(f"{verdict.name}: {_KINDS[kind]}")
        bar = f"{feed.universe.symbols[where.symbol]} {_date(dates, where.ts)}"
        print_line(f"  first at {bar}: {_values(where, kind)}")
        if each.inputs:
            print_line(f"  input: {'; '.join(each.inputs)}")
        print_line("")
    if verdict.unproven:
        print_line(f"{verdict.name}: nothing is proven: {verdict.unproven}")
        print_line("")


def _print_decay(each: Judged) -> None:
    """Print how a later start fades, where it does not at once."""
    history = each.verdict.history
    if history is None or len(history.decay) < 2 or history.settled_bars == history.warmup_bars:
        return
    steps = ", ".join(
        f"{counted(bars, 'bars')} {'other signals' if gap == float('inf') else f'{gap:.1e}'}"
        for bars, gap in history.decay.items()
        if history.settled_bars is None or bars <= history.settled_bars
    )
    print_line(f"{each.verdict.name}, difference by bars since a later start: {steps}")
    print_line("")


def _values(where: Any, kind: str) -> str:
    others = {"history": "a later start", "restored": "the restored state"}.get(kind, "the future")
    if where.field == "signal":
        word = "without" if where.other is None else "with"
        return f"a signal at {where.one or where.other:.6g} only {word} {others}"
    return f"{where.field} {where.one:.10g}, with {others} {where.other:.10g}"


def _date(dates: Any, ts: int) -> str:
    import numpy as np

    return str(dates(np.array([ts]))[0])
