"""Whether a strategy's signals depend on where history starts, beyond the warm-up that it declares.

The strategy is started anew at several rows and compared with the run over all of history, symbol by symbol
from 1, 2, 4, ... times its warm-up on. Averages with a fading memory (EMA, Wilder) agree only after several
times their warm-up; how many is measured. A difference that never dies out is an offence: what such a
strategy says of a day depends on how much of the past somebody happened to have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.differences import Difference, between, worst_difference
from reports.perturbation import Futures, tape_from

Rows = NDArray[np.void]

TOLERANCE = 1e-9  # relative to the value, or to 1 for values below 1
N_STARTS = 4
_MULTIPLE_MAX = 16
_NEXT_TO_NOTHING = 1e-3  # after bars that had other signals altogether
_BARS_MIN = 1000  # looked at, however short a warm-up is declared


@dataclass(frozen=True)
class HistoryResult:
    """decay: {bars since the start: worst difference from there on}, infinite where a signal is in one run
    only; without those after which there was no signal to compare."""

    warmup_bars: int
    n_starts: int
    decay: dict[int, float]
    settled_bars: int | None  # from here on all is equal to within TOLERANCE; None: never, or not known
    is_fading: bool  # not settled within these data, but fading as averages with a fading memory do
    first: Difference | None  # at the longest, where it does not die out
    first_start: int | None  # the row at which history began for it

    @property
    def is_open(self) -> bool:
        """Whether the data are too short to tell."""
        return self.first is None and self.settled_bars is None and not self.is_fading


def history_audit(
    futures: Futures, truth: Rows, warmup_bars: int, measurements: tuple[str, ...],
    run: Callable[[Any], Rows],
) -> HistoryResult:  # fmt: skip
    """Compare `run(tape)`, a fresh strategy over a tape, from later starts with `truth`, all signals."""
    levels = _levels(max(1, warmup_bars))
    traded = np.cumsum(futures.real.status >= 2, axis=0, dtype=np.int32)
    ts = futures.real.ts
    worst: dict[int, float] = {}
    where: dict[int, tuple[Difference, int]] = {}
    starts = _starts(futures.n_rows, levels)
    for start in starts:
        stop = min(futures.n_rows, start + levels[-1] + _BARS_MIN // 4)
        later = run(tape_from(futures.universe, futures.bars, start, stop))
        whole = between(truth, int(ts[start]), int(ts[stop - 1]))
        sides = [(rows, _age(rows, ts, traded, start)) for rows in (whole, later)]
        for bars in levels:
            # A bar of age n has n bars before it: that is what "warm-up" counts
            one, other = (rows[age >= bars] for rows, age in sides)
            if not len(one) and not len(other):
                break
            gap, difference = worst_difference(one, other, measurements)
            worst[bars] = max(worst.get(bars, 0.0), gap)
            if difference is not None and gap > TOLERANCE:
                held = where.get(bars)
                if held is None or difference.ts < held[0].ts:
                    where[bars] = (difference, start)
    settled = next((bars for bars, gap in worst.items() if gap <= TOLERANCE), None)
    fading = settled is None and _fades(worst)
    gaps = list(worst.values())
    enough = bool(worst) and (max(worst) >= _MULTIPLE_MAX * levels[0] or bool(np.isfinite(gaps[-2:]).all()))
    guilty = settled is None and not fading and enough and len(worst) > 1
    first, first_start = where[max(worst)] if guilty else (None, None)
    return HistoryResult(warmup_bars, len(starts), worst, settled, fading, first, first_start)


def _fades(worst: dict[int, float]) -> bool:
    """Return whether the difference fell to a tenth or less when the bars doubled for the last time.

    Fading memories fall by ever more orders of magnitude, a mean over all of history falls by half.
    """
    gaps = list(worst.values())
    if len(gaps) < 2:
        return False
    return gaps[-1] <= (0.1 * gaps[-2] if np.isfinite(gaps[-2]) else _NEXT_TO_NOTHING)


def _levels(warmup: int) -> list[int]:
    """Return 1, 2, 4, ... times the warm-up."""
    levels = [warmup]
    while levels[-1] < max(_MULTIPLE_MAX * warmup, _BARS_MIN):
        levels.append(2 * levels[-1])
    return levels


def _starts(n_rows: int, levels: list[int]) -> list[int]:
    """Return rows to start at: early enough for several warm-ups to follow, where there are as many rows."""
    last = max(n_rows - levels[-1] - _BARS_MIN // 4, n_rows // 3)
    first = min(max(1, levels[0] // 2), last)
    return sorted({int(row) for row in np.linspace(first, last, N_STARTS) if 0 < row < n_rows})


def _age(rows: Rows, ts: Any, traded: Any, start: int) -> NDArray[np.int64]:
    """Return how many bars the symbol of each signal has had since `start`, before the bar of the signal."""
    at = np.searchsorted(ts, rows["ts"])
    ages: NDArray[np.int64] = traded[at, rows["symbol"]] - traded[start - 1, rows["symbol"]] - 1
    return ages
