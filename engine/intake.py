"""The door of the loop: every cell of a slab gets its status before a strategy sees it.

A valid bar is finite, has prices > 0, high >= max(open, close), low <= min(open, close) (relative
tolerance 1e-6) and volume >= 0 (domain specification, section 0). Feeds quarantine invalid bars with file
and row; this second check keeps the same promise for bars that come from anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.jit import kernel
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
        for s in range(n_symbols):
            o, h, lo, c, v = open_[t, s], high[t, s], low[t, s], close[t, s], volume[t, s]
            top = max(o, c)
            bottom = min(o, c)
            # False for NaN and for infinities
            valid = (
                lo > 0.0
                and h < np.inf
                and h >= top - TOLERANCE * top
                and bottom > 0.0
                and lo <= bottom + TOLERANCE * bottom
                and v >= 0.0
                and v < np.inf
                and o == o
                and c == c
            )
            if not valid:
                status[t, s] = 0
                if not np.isnan(c) or not np.isnan(o):
                    invalid += 1
            elif v == 0.0:
                status[t, s] = 1
                marks += 1
            else:
                gap = day - last_day[s] > GAP_DAYS and last_day[s] != NEVER
                status[t, s] = 3 if gap else 2
                last_day[s] = day
                traded += 1
    return traded, marks, invalid


class Intake:
    """Turns Bars into a Tape and counts what came in."""

    def start(self, universe: Universe) -> None:
        self._n_symbols = len(universe)
        self._last_day = np.full(self._n_symbols, NEVER, np.int64)
        self._last_ts = NEVER
        self._status = np.empty((0, self._n_symbols), np.uint8)
        self.traded_bars = self.marking_bars = self.invalid_bars = 0

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
        traded, marks, invalid = intake_kernel(
            ts, bars.open, bars.high, bars.low, bars.close, bars.volume, self._last_day, status
        )
        self.traded_bars += traded
        self.marking_bars += marks
        self.invalid_bars += invalid
        return Tape(
            ts, bars.open, bars.high, bars.low, bars.close, bars.volume, status, bars.actions, bars.benchmark
        )  # fmt: skip

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
