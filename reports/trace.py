"""Where a look ahead comes from: which input of which later bars a signal depends on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.differences import Difference, first_difference, joined, until
from reports.perturbation import INPUTS, Futures, row_views
from strategies.base import Strategy

Rows = NDArray[np.void]


class Lead(NamedTuple):
    """An input that is read too early, from `nearest` to `farthest` rows ahead of the signal."""

    input: str
    nearest: int
    farthest: int

    def __str__(self) -> str:
        ahead = f"{self.nearest}" if self.nearest == self.farthest else f"{self.nearest} to {self.farthest}"
        return f"{self.input}, {ahead} bar{'' if ahead == '1' else 's'} ahead"


class Slab(NamedTuple):
    """A slab of rows [start, stop) and the state in which the strategy gets it."""

    start: int
    stop: int
    strategy: Strategy
    state: dict[str, Any]


def said(strategy: Strategy, tape: Any, n_rows: int) -> Rows:
    """Return what a strategy says of the first `n_rows` rows of a slab that it is given as the loop does."""
    if not strategy.row_by_row:
        return until(strategy.on_bars(tape, 0), int(tape.ts[n_rows - 1]))
    return joined([strategy.on_bars(row, 0) for row in row_views(tape, n_rows)])


def trace(futures: Futures, slab: Slab, difference: Difference) -> tuple[Lead, ...]:
    """Change one input at a time after the offending row; return those that change what was said before."""
    row = int(np.searchsorted(futures.real.ts, difference.ts))
    before = _saying(slab, futures.rows(slab.start, slab.stop), row)

    def responds(name: str, first: int, last: int) -> bool:
        for which in range(len(futures.made_up)):
            tape = futures.perturbed_in(name, slab.start, slab.stop, which, (first, last))
            if first_difference(before, _saying(slab, tape, row), slab.strategy.measurements) is not None:
                return True
        return False

    def is_deaf(name: str, first: int) -> bool:
        return not responds(name, first, slab.stop)

    leads = []
    for name in INPUTS:
        if responds(name, row + 1, slab.stop):
            nearest = _least(row + 1, slab.stop, partial(responds, name, row + 1))
            beyond = _least(row + 2, slab.stop + 1, partial(is_deaf, name))
            leads.append(Lead(name, nearest - 1 - row, max(nearest - 1, beyond - 2) - row))
    return tuple(leads)


def _saying(slab: Slab, tape: Any, row: int) -> Rows:
    slab.strategy.restore(slab.state)
    return said(slab.strategy, tape, row + 1 - slab.start)


def _least(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the least number above `low` - 1 and up to `high` for which `holds`, true at `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
