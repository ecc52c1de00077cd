"""Feed of bars that are already in memory: tests, notebooks, small downloads."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.errors import DataError
from engine.slab import Bars, Int, Universe


class MemoryFeed:
    """Yields `bars` in slabs. The slabs share memory with `bars`."""

    def __init__(self, universe: Universe, bars: Bars) -> None:
        if bars.n_symbols != len(universe):
            raise DataError(
                f"bars must have one column per symbol ({len(universe)}), was {bars.n_symbols} columns"
            )
        self._universe = universe
        self.bars = bars

    @property
    def universe(self) -> Universe:
        return self._universe

    @property
    def ts(self) -> Int:
        """int64[T], when each row was known."""
        return self.bars.ts

    @property
    def n_rows(self) -> int:
        return self.bars.n_rows

    async def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        """Yield slabs of at most `n_rows` rows."""
        if n_rows < 1:
            raise DataError(f"rows per slab must be >= 1, was {n_rows}")
        for slab in self.bars.cut(n_rows):
            yield slab
