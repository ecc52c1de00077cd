"""A strategy replayed up to one bar, for what it knew then: its state on both sides of the bar, its tally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.intake import Intake
from engine.slab import ActionKind, Bars, BarStatus, Universe
from reports.perturbation import rows_of, slabs_of
from reports.trace import said
from reports.why_conditions import Bar, Check, explained
from strategies.base import Strategy

_SLAB_ROWS = 1024


@dataclass(frozen=True)
class Explanation:
    """condition: the entry of the strategy's tally that the bar ended at, "" where it keeps none.

    checks: the conditions up to the first that failed, None for a strategy that is not built in.
    note: why there is nothing to check, if so."""

    strategy: str
    condition: str
    checks: list[Check] | None
    note: str = ""


def of_symbol(universe: Universe, bars: Bars, column: int) -> tuple[Universe, Bars]:
    """Return the history of one symbol alone: a strategy that compares no symbols says the same of it."""
    one = [column]
    actions = bars.actions[bars.actions["symbol"] == column]
    actions = actions[actions["kind"] != ActionKind.RENAME].copy()
    actions["symbol"] = 0
    cells = {name: getattr(bars, name)[:, one] for name in ("open", "high", "low", "close", "volume")}
    return Universe((universe.symbols[column],)), Bars(
        bars.ts, **cells, actions=actions, benchmark=bars.benchmark
    )


def explain_bar(strategy: Strategy, universe: Universe, bars: Bars, row: int, column: int) -> Explanation:
    """Replay a strategy that has not started over rows 0 to `row`; say what became of the symbol's bar."""
    intake = Intake()
    intake.start(universe)
    tape = intake.on_bars(bars.rows(0, row + 1))
    status = int(tape.status[row, column])
    if status < BarStatus.TRADED:
        what = "its bar has no volume" if status == BarStatus.MARK else "it has no bar"
        return Explanation(strategy.name, "", None, f"{what} that day")
    strategy.start(universe)
    if row:
        early = rows_of(tape, 0, row)
        for piece in slabs_of(early, _SLAB_ROWS):
            said(strategy, piece, len(piece.ts))
    late = rows_of(tape, row, row + 1)
    before, tally = strategy.state(), strategy.tally()
    strategy.on_bars(late, 0)
    after = strategy.state()
    ended = [name for name, count in strategy.tally().items() if count > tally.get(name, 0)]
    bar = Bar(
        column, float(tape.close[row, column]), float(tape.volume[row, column]), _ratio(late, column), before,
        after, np.asarray(late.status[0] >= BarStatus.TRADED),
    )  # fmt: skip
    checks = explained(strategy.name, getattr(strategy, "params", None), bar)
    alone = ended[0] if len(ended) == 1 else ""
    failed = next((check.name for check in checks if not check.ok), "signal") if checks is not None else alone
    return Explanation(strategy.name, failed, checks)


def _ratio(tape: Any, column: int) -> float:
    ratio = 1.0
    for action in tape.actions:
        if action["symbol"] == column and action["kind"] == ActionKind.SPLIT:
            ratio *= float(action["value"])
    return ratio
