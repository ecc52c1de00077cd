"""Bars in memory as a feed."""

import asyncio

import numpy as np
import pytest

from engine.errors import DataError
from engine.slab import Bars, Universe, join
from feeds.memory import MemoryFeed
from tests.feeds.price_files import same_bars


def made(n_rows: int, n_symbols: int) -> Bars:
    prices = np.arange(float(n_rows * n_symbols)).reshape(n_rows, n_symbols)
    return Bars(np.arange(n_rows), prices, prices, prices, prices, prices)


@pytest.mark.parametrize("n_rows", [1, 2, 5, 100])
def test_slabs_are_the_bars_in_pieces(n_rows: int) -> None:
    bars = made(5, 2)
    feed = MemoryFeed(Universe(("A", "B")), bars)

    async def collect() -> list[Bars]:
        return [slab async for slab in feed.slabs(n_rows)]

    slabs = asyncio.run(collect())
    assert max(slab.n_rows for slab in slabs) <= n_rows
    assert same_bars(join(slabs), bars)


def test_a_universe_of_another_width_is_refused() -> None:
    with pytest.raises(DataError, match=r"one column per symbol \(1\), was 2"):
        MemoryFeed(Universe(("A",)), made(5, 2))
