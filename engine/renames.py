"""Renames of symbols within slabs: what a strategy remembers of a name goes on under the new one.

A rename acts before the open of its row, so that a slab is cut where one happens and memories move between
two pieces. The desk does it for itself, together with the other actions of a row (`brokers.session`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.slab import ActionKind, Bars

_RENAME = int(ActionKind.RENAME)


def pieces(bars: Bars) -> Iterator[Bars]:
    """Yield a slab in consecutive pieces in which renames happen on the first row alone."""
    starts = set(bars.actions["row"][bars.actions["kind"] == _RENAME].tolist())
    edges = sorted({0, *starts, bars.n_rows})
    for start, stop in pairwise(edges):
        yield bars.rows(start, stop)


def cuts(actions: NDArray[np.void]) -> bool:
    """Return whether a rename happens after the first row."""
    return bool(np.any((actions["kind"] == _RENAME) & (actions["row"] > 0)))


def renames(actions: NDArray[np.void]) -> list[tuple[int, int]]:
    """Return the renames as (old column, new column), in order."""
    found = actions[actions["kind"] == _RENAME]
    return [(int(old), int(new)) for old, new in zip(found["symbol"], found["value"], strict=True)]


def under_new_names(actions: NDArray[np.void]) -> NDArray[np.void]:
    """Return a piece's actions as they are seen after the renames: what came before one on its row, a split
    of the old name, is the new name's."""
    moved = actions.copy()
    for k in np.flatnonzero(actions["kind"] == _RENAME):
        earlier = moved["symbol"][:k]
        earlier[earlier == actions["symbol"][k]] = int(actions["value"][k])
    return moved
