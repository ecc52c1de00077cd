"""Relative strength of a symbol against the universe, and its stand-in where there is no universe.

raw = 0.4 R63 + 0.2 R126 + 0.2 R189 + 0.2 R252, R_k the total return over k traded bars: the public
approximation of the IBD rating (domain.md section 2). Its rank among the names of one timestamp is the
percentile p in [0, 1]; the rating people quote is 1 + floor(98 p).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.jit import step

YEAR = 252  # traded bars of the longest return and of the 252-bar high and low
RING = 256  # bars kept per symbol; a power of two > YEAR, so that `& (RING - 1)` is the place of a bar

Float = NDArray[np.float64]


@step
def rs_raw(total: Float, s: int, bar: int) -> float:
    """Return the weighted total return of symbol `s` at its traded bar `bar` >= 252.

    total: float64[RING, N], total-return index, bar i at place i & (RING - 1).
    """
    now = total[bar & (RING - 1), s]
    return (
        0.4 * (now / total[(bar - 63) & (RING - 1), s] - 1.0)
        + 0.2 * (now / total[(bar - 126) & (RING - 1), s] - 1.0)
        + 0.2 * (now / total[(bar - 189) & (RING - 1), s] - 1.0)
        + 0.2 * (now / total[(bar - 252) & (RING - 1), s] - 1.0)
    )


@step
def percentile(raws: Float, n: int, raw: float) -> float:
    """Return (mid-rank - 1) / (n - 1) of `raw` among raws[:n], which holds it.

    Counted instead of sorted: few names of a row need their rank, and counting vectorises.
    """
    less = equal = 0
    for i in range(n):
        less += raws[i] < raw
        equal += raws[i] == raw
    return (less + (equal + 1) / 2.0 - 1.0) / (n - 1.0)


@step
def range_position(low: float, high: float, close: float) -> float:
    """Return where `close` lies between low and high, in [0, 1]; NaN if they are equal."""
    return (close - low) / (high - low) if high > low else np.nan


@step
def lowest_close(closes: Float, s: int, bar: int) -> float:
    """Return the lowest close of the YEAR bars that end with `bar`."""
    lowest = closes[bar & (RING - 1), s]
    for i in range(bar - YEAR + 1, bar):
        lowest = min(lowest, closes[i & (RING - 1), s])
    return lowest


@step
def highest_close(closes: Float, s: int, bar: int, high: Float, high_bar: NDArray[np.int64]) -> float:
    """Return the highest close of the YEAR bars that end with `bar`; `high` and `high_bar` remember it.

    The caller raises `high` at every close that reaches it. What is remembered is then right until its bar
    has left the window; only then the ring is scanned (ties: the latest, which stays the longest).
    """
    if high_bar[s] <= bar - YEAR:
        high[s] = closes[(bar - YEAR + 1) & (RING - 1), s]
        high_bar[s] = bar - YEAR + 1
        for i in range(bar - YEAR + 2, bar + 1):
            if closes[i & (RING - 1), s] >= high[s]:
                high[s] = closes[i & (RING - 1), s]
                high_bar[s] = i
    return high[s]
