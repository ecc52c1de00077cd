"""What the strategies say of every name at the newest session, and the final score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.events import join_rows
from engine.intake import Intake
from engine.slab import Bars, Tape, Universe
from strategies.base import Strategy
from strategies.final_score import SESSIONS_MAX, Float, final_scores, newest_signals
from universe.momentum import Score

# Averages with a fading memory (EMA, Wilder) are settled to 1e-9 after some 250 bars beyond the warm-up
SETTLING_BARS = 300


@dataclass(frozen=True)
class Scores:
    """Per symbol: each strategy's newest signal (None: it cannot judge the symbol), and the final score,
    float64[N] with NaN where no strategy can."""

    strategies: Sequence[Mapping[str, Score | None]]
    final: Float


def rows_needed(strategies: Sequence[Strategy]) -> int:
    """Return how many rows of history the scores of the newest one need."""
    return SESSIONS_MAX + 1 + SETTLING_BARS + max(strategy.warmup_bars for strategy in strategies)


def score(universe: Universe, bars: Bars, strategies: Sequence[Strategy], weights: Sequence[float]) -> Scores:
    """Run strategies that have not started over `bars` and return what they say at its last row."""
    intake = Intake()
    intake.start(universe)
    tape = intake.on_bars(bars)
    # Kernels let go of the interpreter, so that strategies run side by side
    with ThreadPoolExecutor(max_workers=len(strategies)) as pool:
        signals = list(pool.map(lambda strategy: _signals(strategy, universe, tape), strategies))
    newest = newest_signals(signals, bars.ts, len(universe))
    n_traded = (tape.status >= 2).sum(axis=0)
    capable = np.array([n_traded > strategy.warmup_bars for strategy in strategies])
    final = final_scores(newest, capable, np.asarray(weights, np.float64))
    sides, confidence, ages = (part.tolist() for part in newest)
    names = [strategy.name for strategy in strategies]
    able = capable.tolist()
    told = [
        {
            name: _told(sides[i][s], confidence[i][s], ages[i][s]) if able[i][s] else None
            for i, name in enumerate(names)
        }
        for s in range(len(universe))
    ]
    return Scores(told, final)


def _told(side: int, confidence: float, age: int) -> Score:
    return Score("BUY" if side > 0 else "SELL", confidence, age) if side else Score("", 0.0, None)


def _signals(strategy: Strategy, universe: Universe, tape: Tape) -> NDArray[np.void]:
    strategy.start(universe)
    if not strategy.row_by_row:
        return strategy.on_bars(tape, 0)
    parts = [strategy.on_bars(_row(tape, t), 0) for t in range(len(tape.ts))]
    found = [rows for rows in parts if len(rows)]
    return join_rows(found) if found else parts[0]


def _row(tape: Tape, t: int) -> Tape:
    actions = tape.actions[tape.actions["row"] == t].copy()
    actions["row"] = 0
    arrays = {name: getattr(tape, name)[t : t + 1] for name in Tape._fields if name != "actions"}
    return Tape(**arrays, actions=actions)
