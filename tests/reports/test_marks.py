"""Marks are the closes that the desk saw, and only those of symbols that were traded."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import FILL_DTYPE
from engine.intake import Intake
from engine.slab import ACTION_DTYPE, ActionKind, Bars, Universe
from reports.marks import Marks, valid_closes
from tests.reports.made_run import DAYS

PRICES = st.sampled_from([0.0, -1.0, 9.0, 10.0, 10.000001, 11.0, np.nan, np.inf])


def slab(close, actions=()):
    k = len(close)
    return Bars(
        np.array(DAYS[:k]),
        close,
        close,
        close,
        close,
        np.ones(close.shape),
        np.array(list(actions), ACTION_DTYPE),
    )


def fills(*symbols):
    rows = np.zeros(len(symbols), FILL_DTYPE)
    rows["symbol"] = symbols
    return rows


@given(
    bars=st.lists(
        st.tuples(PRICES, PRICES, PRICES, PRICES, st.sampled_from([0.0, 5.0, -1.0, np.nan])),
        min_size=1, max_size=60,
    )
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_close_is_a_mark_exactly_where_the_intake_finds_a_valid_bar(bars):
    open_, high, low, close, volume = np.array(bars).T[:, None, :]
    n = close.shape[1]
    made = Bars(np.array(DAYS[:1]), open_, high, low, close, volume)
    intake = Intake()
    intake.start(Universe(tuple(f"S{i:03d}" for i in range(n))))
    status = intake.on_bars(made).status
    marks = valid_closes(made, np.arange(n))
    assert np.array_equal(~np.isnan(marks), status > 0)
    assert np.array_equal(marks[status > 0], close[status > 0])


def test_only_symbols_that_were_traded_are_kept_from_their_first_slab_on():
    marks = Marks()
    for first, traded in ((1.0, ()), (2.0, (2,)), (3.0, (0,))):
        marks.on_bars(slab(np.full((2, 3), first)))
        if traded:
            marks.on_fills(fills(*traded))
        marks.on_slab_done()
    table = marks.table()
    assert table.symbols.tolist() == [0, 2]
    assert np.isnan(table.close[:2]).all()
    assert table.close[2:, 1].tolist() == [2.0, 2.0, 3.0, 3.0]
    assert np.isnan(table.close[2:4, 0]).all()


def test_splits_are_counted_from_the_first_row_of_the_run_and_a_new_name_is_followed():
    marks = Marks()
    marks.on_bars(slab(np.ones((3, 3))))
    marks.on_fills(fills(1))
    marks.on_slab_done()
    actions = [(1, 0, ActionKind.SPLIT, 2.0), (1, 1, ActionKind.SPLIT, 3.0), (2, 1, ActionKind.RENAME, 2.0)]
    marks.on_bars(slab(np.ones((3, 3)), actions))
    marks.on_slab_done()
    table = marks.table()
    assert table.symbols.tolist() == [1, 2]
    assert table.actions[["row", "symbol"]].tolist() == [(4, 1), (5, 1)]
