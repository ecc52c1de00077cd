"""The hand-made run as files: what a backtest leaves behind, tear sheet included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.events import CashFlows, Fills, Trades
from engine.slab import Bars, Universe
from reports.artefacts import write_run
from reports.evidence import write_evidence
from reports.nearby import look_again
from reports.performance import Summary, summarise
from reports.recorder import Recorder
from tests.reports import made_run

EVIL = '<img src=x onerror=alert("planted")>'


class Feed:
    """Four days of bars; the last symbol stops trading after the second."""

    universe: Universe = made_run.UNIVERSE

    async def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        close = np.array([[10.0, 20.0, 3.0], [10.2, 20.1, 3.1], [11.0, 20.2, np.nan], [11.0, 20.3, np.nan]])
        bars = Bars(np.array(made_run.DAYS), close, close * 1.02, close * 0.98, close, close * 0 + 5e4)
        for part in bars.cut(n_rows):
            yield part


def manifest(**more: Any) -> dict[str, Any]:
    return {
        "mode": "sleeve", "capital": 100_000.0,
        "data": {"source": EVIL, "rows": 4, "symbols": 3, "notes": [EVIL]},
        "strategies": [{"name": "first", "weight": 0.6, "parameters": {}}],
        "counts": {"ambiguous_bars": 0}, **more,
    }  # fmt: skip


def summary_of(recorder: Recorder) -> Summary:
    return summarise(
        recorder.equity(), recorder.accounts, recorder.capital_usd, recorder.benchmark_close(),
        trades=recorder.rows(Trades), fills=recorder.rows(Fills), cashflows=recorder.rows(CashFlows),
    )  # fmt: skip


def write(directory: Path, monkeypatch: Any, first_symbol: str = EVIL) -> dict[str, Any]:
    """Write the CSV files of the run, with a symbol of this name in it; return what run.json would say."""
    monkeypatch.setattr(made_run, "UNIVERSE", Universe((first_symbol, "BBB", "CCC")))
    recorder = made_run.replay(made_run.recorder(), 4)
    summary = summary_of(recorder)
    nearby = look_again(Feed(), recorder, slab_rows=3)
    write_run(directory, recorder, summary, {})
    write_evidence(directory, recorder, summary, nearby, None)
    return {**manifest(), **nearby.described()}
