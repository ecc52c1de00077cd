"""The door of the loop: every cell of a slab gets its status before a strategy sees it.

A valid bar is finite, has prices > 0, high >= max(open, close), low <= min(open, close) (relative
tolerance 1e-6) and volume >= 0 (domain specification, section 0). Feeds quarantine invalid bars with file
and row; this second check keeps the same promise for bars that come from anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.jit import entry, kernel, records
from engine.slab import NS_PER_DAY, Bars, Tape, Universe

TOLERANCE = 1e-6
GAP_DAYS = 60
NEVER = -(2**62)


@kernel
def intake_kernel(ts, open_, high, low, close, volume, last_day, status):
    """Write status[K, N]; update last_day[N], the UTC day of each symbol's last traded bar.

    Returns (traded bars, marking bars, invalid bars).
    """
    n_rows, n_symbols = close.shape
    traded = marks = invalid = 0
    for t in range(n_rows):
        day = ts[t] // NS_PER_DAY
        # Two loops without a branch: both become vector instructions. Comparisons are false for NaN.
        for s in range(n_symbols):
            o, h, lo, c, v = open_[t, s], high[t, s], low[t, s], close[t, s], volume[t, s]
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
            status[t, s] = np.uint8(valid) + np.uint8(valid & (v > 0.0))
        n_traded = n_marks = 0
        for s in range(n_symbols):
            last, is_traded = last_day[s], status[t, s] == 2
            resumed = is_traded & (day - last > GAP_DAYS) & (last != NEVER)
            last_day[s] = day if is_traded else last
            n_traded += is_traded
            n_marks += status[t, s] == 1
            status[t, s] += np.uint8(resumed)
        traded += n_traded
        marks += n_marks
        if n_traded + n_marks < n_symbols:
            for s in range(n_symbols):
                if status[t, s] == 0 and not (np.isnan(close[t, s]) and np.isnan(open_[t, s])):
                    invalid += 1
    return traded, marks, invalid


class Intake:
    """Turns Bars into a Tape and counts what came in."""

    def start(self, universe: Universe) -> None:
        self._n_symbols = len(universe)
        self._last_day = np.full(self._n_symbols, NEVER, np.int64)
        self._last_ts = NEVER
        self._status = np.empty((0, self._n_symbols), np.uint8)
        self._entry: Callable[..., tuple[int, int, int]] | None = None
        self.traded_bars = self.marking_bars = self.invalid_bars = 0

    def on_rename(self, old: int, new: int) -> None:
        """Let column `new` go on where column `old` stopped, unless `new` has traded already."""
        if self._last_day[new] == NEVER:
            self._last_day[new], self._last_day[old] = self._last_day[old], NEVER

    def on_bars(self, bars: Bars) -> Tape:
        """Return the slab as kernels see it. Raises EngineError when time does not move forward.

        The tape's status array is reused by the next call.
        """
        if bars.n_symbols != self._n_symbols:
            raise EngineError(f"slab must have {self._n_symbols} symbols, was {bars.n_symbols}")
        ts = bars.ts
        if ts[0] <= self._last_ts or (len(ts) > 1 and not np.all(ts[1:] > ts[:-1])):
            raise EngineError(
                f"timestamps must strictly increase: {ts[0]} after {self._last_ts}"
                if ts[0] <= self._last_ts
                else "timestamps must strictly increase within a slab"
            )
        self._last_ts = int(ts[-1])
        if len(self._status) < bars.n_rows:
            self._status = np.empty((bars.n_rows, self._n_symbols), np.uint8)
        status: NDArray[np.uint8] = self._status[: bars.n_rows]
        arrays = (ts, bars.open, bars.high, bars.low, bars.close, bars.volume, self._last_day, status)
        if self._entry is None:
            self._entry = entry(intake_kernel, *arrays)
        traded, marks, invalid = self._entry(*arrays)
        self.traded_bars += traded
        self.marking_bars += marks
        self.invalid_bars += invalid
        return Tape(
            ts, bars.open, bars.high, bars.low, bars.close, bars.volume, status,
            records(bars.actions), bars.benchmark,
        )  # fmt: skip

    @property
    def last_ts_ns(self) -> int:
        """Of the newest row, `NEVER` before the first."""
        return self._last_ts

    def state(self) -> dict[str, Any]:
        return {
            "last_day": self._last_day.copy(),
            "last_ts": self._last_ts,
            "counts": np.array([self.traded_bars, self.marking_bars, self.invalid_bars]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last_day[:] = state["last_day"]
        self._last_ts = int(state["last_ts"])
        self.traded_bars, self.marking_bars, self.invalid_bars = (int(n) for n in state["counts"])
