"""The geometry of a cup with handle: lips, bottom and handle found in the bars before a breakout.

    left lip a            right lip r = pivot P
       \\                     /\\    _ close t
        \\                   /  \\_/   breakout above P
         \\___         _____/    lo = low of the handle
             \\_______/
              m = bottom

Definition: domain.md section 1. Bars are numbered by symbol and kept in rings (`strategies.rings`); the
bar being decided on has the number n, and all that is read lies before it.

With `price_basis=hl` lips are highs and lows are lows: P, the left lip and the climb to it read the ring of
highs; the bottom m and the handle's low `lo` read the ring of lows. The close still decides the breakout,
the roundness, the slope of the handle and the moving average. With `close` the two rings are the closes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.jit import step
from strategies.rings import lowest_of

Float = NDArray[np.float64]

PRIOR_RISE_BARS = 60  # bars before the left lip in which the rise began


class PriceBasis(IntEnum):
    CLOSE = 0
    HL = 1


class HandleRef(IntEnum):
    """What must lie in the upper part of the cup."""

    LOW = 0  # the low of the handle
    MID = 1  # the middle of the handle, (P + lo) / 2: O'Neil's looser rule


class Condition(IntEnum):
    """Conditions in the order in which they are tested; a bar is counted at the first that fails."""

    WARMUP = 0
    VOLUME = 1
    BREAKOUT = 2  # before the length of the handle (steps 3 and 2): it rejects more, sooner
    HANDLE_LENGTH = 3
    HANDLE_PULLBACK = 4
    LEFT_LIP = 5
    DEPTH = 6
    RECOVERY = 7
    HANDLE_POSITION = 8
    ROUNDNESS = 9
    DRY_UP = 10
    PRIOR_RISE = 11
    EXTENSION = 12
    HANDLE_SLOPE = 13
    ABOVE_SMA = 14
    BOTTOM_POSITION = 15
    COOLDOWN = 16
    SIGNAL = 17


class Cup(NamedTuple):
    failed: int  # the first Condition not met, or SIGNAL; unless SIGNAL, the rest is void
    pivot: float
    handle_low: float
    left_lip: float
    bottom: float
    i_lip: int  # bar numbers
    i_left: int
    i_bottom: int


@step
def _no_cup(condition: int) -> Cup:
    return Cup(condition, np.nan, np.nan, np.nan, np.nan, 0, 0, 0)


@step
def find_cup(highs: Float, lows: Float, s: int, n: int, pivot: float, params: Any) -> Cup:
    """Return the cup and handle on either side of the right lip, in bars n - lookback .. n - 1.

    highs, lows : float64[capacity, n_symbols], rings (both the closes for `price_basis=close`).
    pivot : the highest of bars n - 1 - handle_max .. n - 1, above all of the last handle_min.
    params : strategies.zanger.CupParams
    """
    mask = highs.shape[0] - 1
    first = n - params.cup_lookback
    i_lip = n - 1 - params.handle_min
    while highs[i_lip & mask, s] != pivot:  # The latest of equals
        i_lip -= 1

    handle_low = lowest_of(lows, s, i_lip + 1, n)
    pullback = (pivot - handle_low) / pivot
    if not (params.handle_pullback_min <= pullback <= params.handle_pullback_max):
        return _no_cup(Condition.HANDLE_PULLBACK)

    # The nearest lip to the left, not the highest close before the lowest: in an uptrend that would sit at
    # the far left, far below the right lip.
    i_bottom = i_lip - 1
    bottom = lows[i_bottom & mask, s]
    i_left = -1
    for k in range(i_lip - 1, first, -1):
        high = highs[k & mask, s]
        if (
            i_lip - k >= params.cup_min_bars
            and high > bottom
            and (high - bottom) / high >= params.cup_depth_min
            and high >= bottom + (pivot - bottom) / params.recovery_max
        ):
            i_left = k
            break
        if lows[k & mask, s] < bottom:
            i_bottom, bottom = k, lows[k & mask, s]
        if high > pivot:  # Higher than the right lip and not a left one: the right one is no lip
            break
    if i_left < 0:
        return _no_cup(Condition.LEFT_LIP)
    while i_left - 1 > first and highs[(i_left - 1) & mask, s] >= highs[i_left & mask, s]:
        i_left -= 1
    left_lip = highs[i_left & mask, s]
    if not highs[(i_left - 1) & mask, s] < left_lip:  # The edge of the window is no turning point
        return _no_cup(Condition.LEFT_LIP)

    depth = (left_lip - bottom) / left_lip
    if not (params.cup_depth_min <= depth <= params.cup_depth_max):
        return _no_cup(Condition.DEPTH)
    recovery = (pivot - bottom) / (left_lip - bottom)
    if not (params.recovery_threshold <= recovery <= params.recovery_max):
        return _no_cup(Condition.RECOVERY)
    reference = (pivot + handle_low) / 2 if params.handle_ref == HandleRef.MID else handle_low
    if not reference >= bottom + params.handle_upper_frac * (left_lip - bottom):
        return _no_cup(Condition.HANDLE_POSITION)
    return Cup(Condition.SIGNAL, pivot, handle_low, left_lip, bottom, i_lip, i_left, i_bottom)


@step
def roundness(closes: Float, s: int, cup: Cup) -> float:
    """Return the share of closes between the lips in the lowest third: 0.33 for a V, 0.58 for a parabola."""
    mask = closes.shape[0] - 1
    level = cup.bottom + (cup.left_lip - cup.bottom) / 3
    n_low = 0
    for k in range(cup.i_left, cup.i_lip + 1):
        if closes[k & mask, s] <= level:
            n_low += 1
    return n_low / (cup.i_lip + 1 - cup.i_left)


@step
def prior_rise(lows: Float, s: int, cup: Cup) -> float:
    """Return the rise to the left lip from the lowest price of the 60 bars before it, as a fraction."""
    return cup.left_lip / lowest_of(lows, s, cup.i_left - PRIOR_RISE_BARS, cup.i_left) - 1


@step
def handle_slope(closes: Float, s: int, cup: Cup, n: int) -> float:
    """Return the numerator of the least-squares slope of the handle's closes: it has the slope's sign.

    Closes are taken relative to the first of them, so that a flat handle has a slope of exactly zero.
    """
    mask = closes.shape[0] - 1
    start = cup.i_lip + 1
    centre = (n - 1 + start) / 2
    slope = 0.0
    for k in range(start, n):
        slope += (k - centre) * (closes[k & mask, s] - closes[start & mask, s])
    return slope
