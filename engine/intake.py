"""The door of the loop: every cell of a slab gets its status before a strategy sees it.

A valid bar is finite, has prices > 0, high >= max(open, close), low <= min(open, close) (relative
tolerance 1e-6) and volume >= 0 (domain specification, section 0). Feeds quarantine invalid bars with file
and row; this second check keeps the same promise for bars that come from anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.jit import entry, kernel, records
from engine.slab import NS_PER_DAY, Bars, Tape, Universe

TOLERANCE = 1e-6
GAP_DAYS = 60
NEVER = -(2**62)
TRADED, MARKING, INVALID = 0, 1, 2  # IntakeState.counts


class IntakeState(NamedTuple):
    """What outlives a slab."""

    last_ts: NDArray[np.int64]  # [1], of the newest row
    last_day: NDArray[np.int64]  # [N], UTC day of each symbol's last traded bar
    counts: NDArray[np.int64]  # [3], bars so far


@kernel
def intake_kernel(tape: Tape, state: IntakeState) -> bool:
    """Write `tape.status` and advance the state; False, and neither, where time does not move forward."""
    before = state.last_ts[0]
    for t in range(len(tape.ts)):
        if tape.ts[t] <= before:
            return False
        before = tape.ts[t]
    state.last_ts[0] = before
    last_day = state.last_day
    n_rows, n_symbols = tape.close.shape
    traded = marks = invalid = 0
    for t in range(n_rows):
        day = tape.ts[t] // NS_PER_DAY
        open_, high, low, close = tape.open[t], tape.high[t], tape.low[t], tape.close[t]
        volume, status = tape.volume[t], tape.status[t]
        # Two loops without a branch: both become vector instructions. Comparisons are false for NaN.
        for s in range(n_symbols):
            o, h, lo, c, v = open_[s], high[s], low[s], close[s], volume[s]
            top = o if o > c else c
            bottom = o if o < c else c
            valid = (
                (lo > 0.0)
                & (h < np.inf)
                & (h >= top - TOLERANCE * top)
                & (bottom > 0.0)
                & (lo <= bottom + TOLERANCE * bottom)
                & (v >= 0.0)
                & (v < np.inf)
                & (o == o)
                & (c == c)
            )
            status[s] = np.uint8(valid) + np.uint8(valid & (v > 0.0))
        n_traded = n_marks = 0
        for s in range(n_symbols):
            last, is_traded = last_day[s], status[s] == 2
            resumed = is_traded & (day - last > GAP_DAYS) & (last != NEVER)
            last_day[s] = day if is_traded else last
            n_traded += is_traded
            n_marks += status[s] == 1
            status[s] += np.uint8(resumed)
        traded += n_traded
        marks += n_marks
        if n_traded + n_marks < n_symbols:
            for s in range(n_symbols):
                if status[s] == 0 and not (np.isnan(close[s]) and np.isnan(open_[s])):
                    invalid += 1
    state.counts[TRADED] += traded
    state.counts[MARKING] += marks
    state.counts[INVALID] += invalid
    return True


class Intake:
    """Turns Bars into a Tape and counts what came in."""

    def start(self, universe: Universe) -> None:
        self._n_symbols = len(universe)
        self._state = IntakeState(
            last_ts=np.full(1, NEVER, np.int64),
            last_day=np.full(self._n_symbols, NEVER, np.int64),
            counts=np.zeros(3, np.int64),
        )
        self._status = np.empty((0, self._n_symbols), np.uint8)
        self._entry: Callable[..., bool] | None = None

    def on_rename(self, old: int, new: int) -> None:
        """Let column `new` go on where column `old` stopped, unless `new` has traded already."""
        last_day = self._state.last_day
        if last_day[new] == NEVER:
            last_day[new], last_day[old] = last_day[old], NEVER

    def on_bars(self, bars: Bars) -> Tape:
        """Return the slab as kernels see it. Raises EngineError when time does not move forward.

        The tape's status array is reused by the next call.
        """
        n_rows, n_symbols = bars.close.shape
        if n_symbols != self._n_symbols:
            raise EngineError(f"slab must have {self._n_symbols} symbols, was {n_symbols}")
        if len(self._status) < n_rows:
            self._status = np.empty((n_rows, n_symbols), np.uint8)
        tape = Tape(
            bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume, self._status[:n_rows],
            records(bars.actions), bars.benchmark,
        )  # fmt: skip
        if self._entry is None:
            self._entry = entry(intake_kernel, tape, self._state)
        if not self._entry(tape, self._state):
            first = int(bars.ts[0])
            raise EngineError(
                f"timestamps must strictly increase: {first} after {self.last_ts_ns}"
                if first <= self.last_ts_ns
                else "timestamps must strictly increase within a slab"
            )
        return tape

    @property
    def last_ts_ns(self) -> int:
        """Of the newest row, `NEVER` before the first."""
        return int(self._state.last_ts[0])

    @property
    def counts(self) -> tuple[int, int, int]:
        """Bars that traded, that only marked, and that were dropped as invalid."""
        traded, marking, invalid = self._state.counts.tolist()
        return traded, marking, invalid

    def state(self) -> dict[str, Any]:
        last_ts, last_day, counts = self._state
        return {"last_day": last_day.copy(), "last_ts": int(last_ts[0]), "counts": counts.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._state._asdict().items():
            value[:] = state[name]
