"""Chart patterns planted in the synthetic market, so that every strategy has something to find.

A life is divided into slots of `SLOT_ROWS` sessions; some slots receive one pattern. A pattern is a path of
log levels relative to the close before it; it replaces the returns of its rows, so the price before and
after stays continuous. What follows a breakout is the ordinary market: the patterns make strategies fire,
they are no promise that firing pays. They are rare, and no larger than the rules ask, because a shape pays
whoever is in it: the climb out of a cup is a smooth trend, and followers of trends hold it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import Float, Int
from feeds.synthetic_returns import Moves


class PatternKind(IntEnum):
    """What was planted, and what its `row` is."""

    CUP = 0  # cup with handle; the close of `row` breaks out
    CONTRACTION = 1  # a narrow range; the close of `row` breaks out


PATTERN_DTYPE = np.dtype(
    [
        ("kind", np.int64),
        ("symbol", np.int64),
        ("start", np.int64),  # first row that was replaced
        ("base", np.int64),  # left rim of the cup, last row before the range
        ("row", np.int64),
        ("width", np.float64),  # half the log range of a contraction; 0 otherwise
        ("volume_multiple", np.float64),  # least volume of `row`, in means of the 20 bars before
    ]
)

SLOT_ROWS = 210
_SHARES = {PatternKind.CUP: 0.01, PatternKind.CONTRACTION: 0.01}  # of all slots
_MARGIN_ROWS = 20  # from the listing to the first slot
_LONGEST = 123 + 30  # a cup, and room after the breakout


class Shape(NamedTuple):
    """A pattern as log levels relative to the close before it, one per row; `base` counts those rows."""

    levels: Float
    base: int
    width: float
    volume_multiple: float


def plan_slots(rng: np.random.Generator, first: Int, until: Int) -> Int:
    """Return int64[n, 3] of (kind, symbol, first row): the slots that receive a pattern.

    `first` is the row of each name's listing, `until` the row from which nothing may be planted.
    """
    room = until - first - _MARGIN_ROWS
    n_slots = np.maximum(room // SLOT_ROWS, 0)
    symbol = np.repeat(np.arange(len(first)), n_slots)
    number = np.arange(len(symbol)) - np.repeat(np.cumsum(n_slots) - n_slots, n_slots)
    slack = np.floor(rng.random(len(first)) * np.maximum(room - n_slots * SLOT_ROWS, 0)).astype(np.int64)
    jitter = rng.integers(0, SLOT_ROWS - _LONGEST + 1, len(symbol))
    start = first[symbol] + _MARGIN_ROWS + slack[symbol] + number * SLOT_ROWS + jitter
    order = rng.permutation(len(symbol))
    counts = [int(np.ceil(share * len(symbol))) for share in _SHARES.values()]
    kind = np.repeat(np.array(list(_SHARES), np.int64), counts)[: len(symbol)]
    chosen = order[: len(kind)]
    return np.stack([kind, symbol[chosen], start[chosen]], axis=1)


def plant(rng: np.random.Generator, slots: Int, moves: Moves) -> NDArray[np.void]:
    """Write a pattern into each slot of `moves`, in place, and return PATTERN_DTYPE[n_slots]."""
    planted = np.zeros(len(slots), PATTERN_DTYPE)
    for i, (kind, symbol, start) in enumerate(slots.tolist()):
        shape = _SHAPES[PatternKind(kind)](rng)
        stop = start + len(shape.levels)
        moves.log_return[start, symbol] = shape.levels[0]
        moves.log_return[start + 1 : stop, symbol] = shape.levels[1:] - shape.levels[:-1]
        moves.results[start : stop - 1, symbol] = False
        _calm(moves, kind, symbol, slice(start, stop), start + shape.base, shape.width)
        planted[i] = (kind, symbol, start, start + shape.base, stop - 1, shape.width, shape.volume_multiple)
    return planted


def _calm(moves: Moves, kind: int, symbol: int, rows: slice, base: int, width: float) -> None:
    """Set ranges and volumes that go with the pattern: narrow and dry in a base."""
    volatility = moves.volatility[rows, symbol]
    np.minimum(volatility, 0.02, out=volatility)
    if kind == PatternKind.CONTRACTION:
        moves.volatility[base + 1 : rows.stop, symbol] = 0.5 * width
    moves.activity[base : rows.stop - 1, symbol] -= 0.25


def _cup(rng: np.random.Generator) -> Shape:
    """Return a rise of 5-15 %, a U-shaped cup of 60-90 rows, a handle of 6-12 rows and the breakout."""
    n_rise, n_cup, n_handle = (int(n) for n in rng.integers((10, 60, 6), (21, 91, 13)))
    rise = np.log(rng.uniform(1.05, 1.15))
    depth = rng.uniform(0.15, 0.24)
    right = rng.uniform(-0.015, 0.03)  # the right rim relative to the left
    pullback = rng.uniform(0.06, min(0.12, 0.42 * depth))

    up = rise * np.arange(1, n_rise + 1) / n_rise + _wobble(rng, n_rise, 0.012)
    u = np.arange(1, n_cup + 1) / n_cup
    bowl = 1.0 - np.abs(2.0 * u - 1.0) ** rng.uniform(2.0, 3.0)
    cup = rise + np.log1p(-depth) * bowl + right * u + _wobble(rng, n_cup, 0.010)
    pivot = rise + right
    v = np.arange(1, n_handle + 1) / n_handle
    sag = np.where(v < 0.6, np.sin(0.5 * np.pi * v / 0.6), 1.0 - 0.4 * (v - 0.6) / 0.4)
    handle = pivot + np.log1p(-pullback) * np.clip(sag / sag.max(), 0.15, 1.0)
    breakout = pivot + rng.uniform(0.027, 0.055)
    levels = np.concatenate([up, cup, handle, [breakout]])
    return Shape(levels, n_rise - 1, 0.0, rng.uniform(1.8, 3.5))


def _contraction(rng: np.random.Generator) -> Shape:
    """Return 22-35 rows inside a range of 5-10 % and the breakout above it."""
    n_range = int(rng.integers(22, 36))
    width = rng.uniform(0.025, 0.050)
    inside = np.clip(_smooth(rng, n_range) * 0.6 * width, -0.85 * width, 0.85 * width)
    levels = np.concatenate([inside, [width + rng.uniform(0.025, 0.045)]])
    return Shape(levels, -1, width, rng.uniform(1.6, 3.2))


_SHAPES = {PatternKind.CUP: _cup, PatternKind.CONTRACTION: _contraction}


def _smooth(rng: np.random.Generator, n: int) -> Float:
    """Return noise of unit variance in which neighbours are correlated (0.5)."""
    noise = rng.standard_normal(n + 1)
    smooth: Float = (noise[1:] + noise[:-1]) * np.sqrt(0.5)
    return smooth


def _wobble(rng: np.random.Generator, n: int, size: float) -> Float:
    """Return level noise that vanishes at the last of `n` rows and fades in and out over eight."""
    distance = np.minimum(np.arange(1, n + 1), np.arange(n - 1, -1, -1))
    return size * _smooth(rng, n) * np.minimum(distance / 8.0, 1.0)
