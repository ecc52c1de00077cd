"""Slabs: one memory layout, and cutting that join undoes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError, EngineError
from engine.slab import Bars, Universe, join
from tests.brokers.random_market import random_bars

FIELDS = ("ts", "open", "high", "low", "close", "volume", "benchmark", "actions")


def some_bars(seed: int = 0) -> Bars:
    return random_bars(np.random.default_rng(seed), 40, 3)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 50))
def test_joining_what_was_cut_gives_the_slab_back(seed: int, n_rows: int) -> None:
    bars = some_bars(seed)
    parts = list(bars.cut(n_rows))
    assert all(part.n_rows <= n_rows for part in parts)
    again = join(parts)
    for name in FIELDS:
        assert getattr(again, name).tobytes() == getattr(bars, name).tobytes()


def test_cutting_shares_memory_and_counts_actions_from_the_first_row() -> None:
    bars = next(b for b in map(some_bars, range(99)) if (b.actions["row"] >= 10).any())
    part = bars.rows(10, 40)
    assert np.shares_memory(part.close, bars.close)
    wanted = bars.actions[bars.actions["row"] >= 10]["row"] - 10
    assert part.actions["row"].tolist() == wanted.tolist()


def test_arrays_are_made_contiguous_float64_and_writable() -> None:
    data = np.asfortranarray(np.ones((4, 2), np.float32))
    data.flags.writeable = False
    bars = Bars(np.arange(4, dtype=np.int32), data, data, data, data, data)
    assert bars.close.dtype == np.float64
    assert bars.close.flags.c_contiguous
    assert bars.close.flags.writeable
    assert np.isnan(bars.benchmark).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    good, bad = np.ones((4, 2)), np.ones((4, 3))
    with pytest.raises(EngineError, match=r"open must have shape \(4, 2\), was \(4, 3\)"):
        Bars(np.arange(4), bad, good, good, good, good)
    with pytest.raises(EngineError, match="K = len"):
        Bars(np.arange(3), good, good, good, good, good)


def test_a_universe_is_ordered_unique_and_complete() -> None:
    assert Universe(("A", "B")).sectors == ("", "")
    for symbols in (("B", "A"), ("A", "A")):
        with pytest.raises(DataError, match="ascending"):
            Universe(symbols)
    with pytest.raises(EngineError, match="one entry per symbol"):
        Universe(("A", "B"), ("x",))
