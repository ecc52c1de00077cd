"""Rings: the last bars of every symbol, float64[capacity, n_symbols], capacity a power of two.

Bar j of a symbol is at place `j & (capacity - 1)` of its column, so that finding it takes no division and no
wrapping pointer. Symbols lie side by side: a row of the market touches one bar of each. Sums run from the
oldest bar to the newest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.jit import step

Float = NDArray[np.float64]


def ring_capacity(n_bars: int) -> int:
    """Return the least power of two that holds `n_bars`."""
    return 1 << (n_bars - 1).bit_length()


@step
def highest_of(ring: Float, s: int, start: int, stop: int) -> float:
    """Return the highest of bars [start, stop) of symbol `s`."""
    mask = ring.shape[0] - 1
    highest = ring[start & mask, s]
    for k in range(start + 1, stop):
        value = ring[k & mask, s]
        highest = value if value > highest else highest  # No branch, unlike max()
    return highest


@step
def lowest_of(ring: Float, s: int, start: int, stop: int) -> float:
    """Return the lowest of bars [start, stop) of symbol `s`."""
    mask = ring.shape[0] - 1
    lowest = ring[start & mask, s]
    for k in range(start + 1, stop):
        value = ring[k & mask, s]
        lowest = value if value < lowest else lowest
    return lowest


@step
def sum_of(ring: Float, s: int, start: int, stop: int) -> float:
    """Return the sum of bars [start, stop) of symbol `s`; 0 for none."""
    mask = ring.shape[0] - 1
    total = 0.0
    for k in range(start, stop):
        total += ring[k & mask, s]
    return total


@step
def scale_ring(ring: Float, s: int, factor: float) -> None:
    """Multiply what is remembered of symbol `s`."""
    for i in range(ring.shape[0]):
        ring[i, s] *= factor


@step
def divide_ring(ring: Float, s: int, divisor: float) -> None:
    """Divide what is remembered of symbol `s`: not the same as multiplying by the inverse, for 3:2."""
    for i in range(ring.shape[0]):
        ring[i, s] /= divisor
