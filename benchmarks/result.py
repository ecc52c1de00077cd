"""What a run came to, and the hash that shows that two runs, or two programs, came to the same."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from engine.slab import Int


class CrossRun(NamedTuple):
    """The EMA cross over a panel, whoever computed it."""

    n_orders: int
    n_fills: int
    equity_micro: Int  # int64[K], micro-dollars at each close

    @property
    def digest(self) -> str:
        """16 hex digits over the counts and the equity at every close."""
        counts = np.array([self.n_orders, self.n_fills], np.int64)
        return short_hash(counts.tobytes(), self.equity_micro.tobytes())


def short_hash(*parts: bytes) -> str:
    """Return 16 hex digits of the sha256 of `parts`, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
