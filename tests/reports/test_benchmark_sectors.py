"""Sector returns of a benchmark from the names of a run, against a walk over single symbols."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.slab import ACTION_DTYPE, ActionKind, Bars, Universe
from feeds.weights import BenchmarkWeights, Holding
from reports.benchmark_sectors import SectorReader
from tests.reports.made_run import close_ns

UNIVERSE = Universe(("AAA", "BBB", "CCC", "DDD"), ("Energy", "Energy", "Utilities", ""), ("",) * 4)
HELD = BenchmarkWeights("w.csv", {None: [
    Holding("DDD", "Rights", 0.0), Holding("AAA", "Energy", 0.3),
    Holding("BBB", "Energy", 0.1), Holding("ZZZ", "Energy", 0.2),
    Holding("CCC", "Utilities", 0.4),
]})  # fmt: skip


def bars_of(close, actions=(), first="2024-03-04"):
    close = np.array(close, float)
    days = [str(np.datetime64(first) + i) for i in range(len(close))]
    rows = np.array(
        [(row, symbol, kind, value) for row, symbol, kind, value in actions],
        np.dtype([("row", "i8"), ("symbol", "i8"), ("kind", "i8"), ("value", "f8")]),
    )
    made = np.zeros(len(rows), ACTION_DTYPE)
    for name in rows.dtype.names:
        made[name] = rows[name]
    ts = np.array([close_ns(day) for day in days])
    return Bars(ts, close, close, close, close, np.where(np.isnan(close), np.nan, 1e5), actions=made)


def read(bars, weights=HELD, n_rows=100):
    reader = SectorReader(UNIVERSE, weights)
    for slab in bars.cut(n_rows):
        reader.on_bars(slab)
    return reader.result()


def test_names_are_weighted_by_the_file_and_the_rest_is_said():
    made = read(bars_of([[10, 20, 5, 1], [11, 20, 5.5, 9], [11, 22, np.nan, 9]]))
    assert made.sectors == ("energy", "utilities")
    assert np.isnan(made.returns[0]).all()
    assert made.returns[1] == pytest.approx([0.1 * 0.3 / 0.4, 0.1])
    assert made.weights[1] == pytest.approx([0.6, 0.4])
    assert made.returns[2, 0] == pytest.approx(0.1 * 0.1 / 0.4)
    assert np.isnan(made.returns[2, 1])
    assert made.weights[2].tolist() == [1, 0]
    assert made.weights[0].tolist() == [0, 0]
    assert made.names.tolist() == [2, 1]
    assert made.coverage == pytest.approx([(0 + 2 / 3 + 2 / 3) / 3, 1 / 3])


def test_a_table_of_sectors_weighs_names_equally():
    sectors = BenchmarkWeights("w.csv", {None: [Holding("", "Energy", 0.5), Holding("", "Utilities", 0.5)]})
    made = read(bars_of([[10, 20, 5, 1], [11, 24, 5, 1]]), sectors)
    assert made.returns[1] == pytest.approx([0.15, 0.0])
    assert np.isnan(made.coverage).all()


def test_splits_and_dividends_are_no_loss_also_on_days_without_a_bar():
    nan = np.nan
    close = [[10, 20, 8, 1], [nan, 20, 4, 1], [nan, 20, 4, 1], [2.5, 20, 4, 1]]
    actions = [
        (1, 0, ActionKind.SPLIT, 2.0), (1, 2, ActionKind.SPLIT, 2.0), (2, 0, ActionKind.DIVIDEND, 0.5),
        (2, 2, ActionKind.DIVIDEND, 0.4), (3, 0, ActionKind.SPLIT, 2.0),
    ]  # fmt: skip
    for n_rows in (1, 2, 4):
        made = read(bars_of(close, actions), n_rows=n_rows)
        assert made.returns[:, 1][1:] == pytest.approx([0.0, 0.1, 0.0])
        # One share of AAA became four at 2.50, and two of it were paid 0.50 each.
        assert made.returns[3, 0] == pytest.approx(((4 * 2.5 + 2 * 0.5) / 10 - 1) * 0.3 / 0.4)


def test_weights_hold_from_the_session_after_their_date():
    dated = BenchmarkWeights("w.csv", {
        date(2024, 3, 4): [Holding("", "Energy", 0.9), Holding("", "Utilities", 0.1)],
        date(2024, 3, 6): [Holding("", "Energy", 0.2), Holding("", "Utilities", 0.8)],
    })  # fmt: skip
    made = read(bars_of(np.ones((5, 4))), dated, n_rows=2)
    assert made.weights[1:, 0].tolist() == [0.9, 0.9, 0.2, 0.2]


@given(st.integers(0, 2**32), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_the_cut_into_slabs_changes_nothing(seed, n_rows):
    random = np.random.Generator(np.random.PCG64(seed))
    close = random.uniform(5, 20, (9, 4))
    close[random.random((9, 4)) < 0.3] = np.nan
    actions = [(row, int(random.integers(4)), int(random.integers(2)), 0.5) for row in range(9)]
    whole, cut = (read(bars_of(close, actions), n_rows=n) for n in (9, n_rows))
    for name in ("weights", "returns", "coverage"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name), equal_nan=True)
