"""The market gate: what the benchmark alone says about entering, causal and streamed.

Two readings of the benchmark, each a bit of the label, so that a strategy blocks on the mask it wants:

- BEAR: the level B against its 200-session mean and that mean's slope over 20 sessions, q = B / SMA200 - 1,
  slope = SMA200_t / SMA200_{t-20} - 1. Enters at q < -2 % and slope < 0; stays while q < +2 % and
  slope < +0.5 % (domain.md section 7, without breadth). UNKNOWN before 220 closes, and then not BEAR.
- FTD_BLOCKED: O'Neil's follow-through day, as a state machine over close and volume (section 2):

      CORRECTION -> ATTEMPT    an up close, day 1
      ATTEMPT    -> CORRECTION a close below day 1's (only closes are carried; it stands for the day's low)
      ATTEMPT    -> CONFIRMED  from day 4 on, up >= 1.25 % on more volume; distribution days are forgotten
      CONFIRMED <-> PRESSURE   at 4 distribution days
      either     -> CORRECTION at 6

  A distribution day is a loss of >= 0.2 % on more volume. It counts for 25 sessions, its own included, and
  no longer once the benchmark closes >= 5 % above it. Blocked in CORRECTION and ATTEMPT. It begins as
  CONFIRMED: without evidence nothing is blocked; nor is it ever for a benchmark without volume.

The label at a close governs the decisions made at that close. A row without a benchmark close changes
nothing and repeats the label before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.jit import entry, kernel, records, step
from engine.slab import Tape

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MEAN_SESSIONS = 200
SLOPE_SESSIONS = 20
SESSIONS_MIN = MEAN_SESSIONS + SLOPE_SESSIONS
DISTRIBUTION_SESSIONS = 25


class MarketBit(IntFlag):
    BEAR = 1
    FTD_BLOCKED = 2
    UNKNOWN = 4


class FtdState(IntEnum):
    CORRECTION = 0
    ATTEMPT = 1
    CONFIRMED = 2
    PRESSURE = 3


_BEAR, _FTD_BLOCKED, _UNKNOWN = int(MarketBit.BEAR), int(MarketBit.FTD_BLOCKED), int(MarketBit.UNKNOWN)


# What outlives a row. Place j % length of a ring holds session j.
MARKET_DTYPE = np.dtype(
    [
        ("n_sessions", np.int64),
        ("label", np.int64),  # MarketBit
        ("ftd", np.int64),  # FtdState
        ("attempt_day", np.int64),  # 1 on the day of the up close
        ("attempt_close", np.float64),  # of day 1
        ("last", np.float64, (2,)),  # close and volume of the session before
        ("closes", np.float64, (MEAN_SESSIONS,)),
        ("means", np.float64, (SLOPE_SESSIONS + 1,)),  # SMA200
        ("distribution", np.float64, (DISTRIBUTION_SESSIONS,)),  # close of a distribution day, else NaN
    ]
)


@kernel
def market_kernel(benchmark: Float, states: NDArray[np.void], labels: Int) -> None:
    """Advance over benchmark float64[K, 2] (close, volume); write a label for each row.

    states: MARKET_DTYPE[1].
    """
    state = states[0]
    for t in range(len(benchmark)):
        close, volume = benchmark[t, 0], benchmark[t, 1]
        if close > 0.0:  # False for NaN
            _advance_ftd(state, close, volume)
            state.label = _bear_bits(state, close)
            if state.ftd <= FtdState.ATTEMPT:
                state.label |= _FTD_BLOCKED
            state.last[0] = close
            state.last[1] = volume
            state.n_sessions += 1
        labels[t] = state.label


@step
def _bear_bits(state: Any, close: float) -> int:
    """Let `close` into the mean; return BEAR, UNKNOWN or 0."""
    n = state.n_sessions
    state.closes[n % MEAN_SESSIONS] = close
    if n + 1 < MEAN_SESSIONS:
        return _UNKNOWN
    total = 0.0
    for k in range(n - MEAN_SESSIONS + 1, n + 1):
        total += state.closes[k % MEAN_SESSIONS]
    mean = total / MEAN_SESSIONS
    state.means[n % (SLOPE_SESSIONS + 1)] = mean
    if n + 1 < SESSIONS_MIN:
        return _UNKNOWN
    q = close / mean - 1
    slope = mean / state.means[(n - SLOPE_SESSIONS) % (SLOPE_SESSIONS + 1)] - 1
    if state.label & _BEAR:
        return _BEAR if q < 0.02 and slope < 0.005 else 0
    return _BEAR if q < -0.02 and slope < 0.0 else 0


@step
def _advance_ftd(state: Any, close: float, volume: float) -> None:
    """Let one session into the follow-through state machine. Comparisons with a NaN volume are false."""
    n = state.n_sessions
    change = close / state.last[0] - 1  # NaN on the first session, which changes nothing
    louder = volume > state.last[1]
    place = n % DISTRIBUTION_SESSIONS
    state.distribution[place] = close if change <= -0.002 and louder else np.nan
    n_distribution = 0
    for i in range(DISTRIBUTION_SESSIONS):
        if close >= 1.05 * state.distribution[i]:
            state.distribution[i] = np.nan
        if state.distribution[i] > 0.0:
            n_distribution += 1

    if state.ftd == FtdState.CORRECTION:
        if change > 0.0:
            state.ftd = FtdState.ATTEMPT
            state.attempt_day = 1
            state.attempt_close = close
    elif state.ftd == FtdState.ATTEMPT:
        state.attempt_day += 1
        if close < state.attempt_close:
            state.ftd = FtdState.CORRECTION
        elif state.attempt_day >= 4 and change >= 0.0125 and louder:
            state.ftd = FtdState.CONFIRMED
            for i in range(DISTRIBUTION_SESSIONS):
                state.distribution[i] = np.nan
    elif n_distribution >= 6:
        state.ftd = FtdState.CORRECTION
    else:
        state.ftd = FtdState.PRESSURE if n_distribution >= 4 else FtdState.CONFIRMED


class MarketGate:
    """Labels of the benchmark, slab by slab, for `ExitRules.m_gate` and `exit_in_bear`."""

    def __init__(self) -> None:
        self._entry: Callable[..., None] | None = None
        self.start()

    def start(self) -> None:
        """Forget everything."""
        self._state = records(np.zeros(1, MARKET_DTYPE))
        self._state["label"] = _UNKNOWN
        self._state["ftd"] = FtdState.CONFIRMED
        for name in ("attempt_close", "last", "distribution"):
            self._state[name] = np.nan

    def on_bars(self, tape: Tape) -> Int:
        """Return int64[K], the `MarketBit`s in force at the close of each row."""
        labels = np.empty(len(tape.ts), np.int64)
        if self._entry is None:
            self._entry = entry(market_kernel, tape.benchmark, self._state, labels)
        self._entry(tape.benchmark, self._state, labels)
        return labels

    @property
    def label(self) -> int:
        """The `MarketBit`s in force at the newest close."""
        return int(self._state["label"][0])

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that outlives a slab."""
        return {name: self._state[name].reshape(-1).copy() for name in MARKET_DTYPE.fields or ()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        for name in MARKET_DTYPE.fields or ():
            self._state[name] = np.reshape(state[name], self._state[name].shape)
