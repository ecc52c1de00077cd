"""Price bases: the arithmetic, and what comes out of files in each of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from engine.slab import ActionKind
from feeds import rebase
from feeds.adjust import Before, future_product, implied_dividends, previous
from feeds.panel import PanelFeed
from feeds.source import open_source
from tests.feeds.price_files import DAYS, HEADER, actions_of, rows_of, write

SPLIT, DIVIDEND = int(ActionKind.SPLIT), int(ActionKind.DIVIDEND)
# As traded: 2:1 before day 2 (from zero), a dividend of 1 on day 3, of 2 (per old share) on day 1.
RAW = [(100, 1, 0), (98, 1, 2), (49, 2, 0), (48, 1, 1), (50, 1, 0)]


def open_raw(folder: Path, adjustment: str, *, symbol: str = "A") -> PanelFeed:
    lines = [
        f"{symbol},{day},{c},{c},{c},{c},1000,{split},{dividend}"
        for day, (c, split, dividend) in zip(DAYS, RAW, strict=True)
    ]
    path = write(folder / "raw.csv", [HEADER + ",split_coefficient,dividend_amount", *lines])
    return open_source(path, adjustment=adjustment, cache_dir=folder / "cache")


def open_yahoo(folder: Path, adjustment: str, rows: list[tuple[float, float, float]]) -> PanelFeed:
    """rows: close, adj_close, stock split."""
    lines = [
        f"{day},{c},{c},{c},{c},{adj},1000,{split}" for day, (c, adj, split) in zip(DAYS, rows, strict=False)
    ]
    path = write(folder / "y" / "A.csv", ["Date,Open,High,Low,Close,Adj Close,Volume,Stock Splits", *lines])
    return open_source(path.parent, adjustment=adjustment, cache_dir=folder / "cache")


def test_raw_prices_stay_raw_with_their_actions(tmp_path: Path) -> None:
    bars = rows_of(open_raw(tmp_path, "raw"))
    assert bars.close[:, 0].tolist() == [100, 98, 49, 48, 50]
    assert actions_of(bars) == [(1, 0, DIVIDEND, 2.0), (2, 0, SPLIT, 2.0), (3, 0, DIVIDEND, 1.0)]


def test_split_adjustment_divides_by_the_splits_to_come(tmp_path: Path) -> None:
    bars = rows_of(open_raw(tmp_path, "split"))
    assert bars.close[:, 0].tolist() == [50, 49, 49, 48, 50]
    assert bars.volume[:, 0].tolist() == [2000, 2000, 1000, 1000, 1000]
    assert actions_of(bars) == [(1, 0, DIVIDEND, 1.0), (3, 0, DIVIDEND, 1.0)]


def test_total_return_adjusts_for_dividends_as_well(tmp_path: Path) -> None:
    bars = rows_of(open_raw(tmp_path, "total_return"))
    f3 = 1 - 1 / 49
    f1 = f3 * (1 - 1 / 50)
    np.testing.assert_allclose(bars.close[:, 0], [50 * f1, 49 * f3, 49 * f3, 48, 50], rtol=1e-15)
    assert bars.volume[:, 0].tolist() == [2000, 2000, 1000, 1000, 1000]
    assert len(bars.actions) == 0


def test_bases_do_not_depend_on_the_blocks_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [rows_of(open_raw(tmp_path / "a", kind)) for kind in ("split", "total_return")]
    monkeypatch.setattr(rebase, "_BLOCK_CELLS", 1)
    got = [rows_of(open_raw(tmp_path / "b", kind)) for kind in ("split", "total_return")]
    for a, b in zip(expected, got, strict=True):
        np.testing.assert_allclose(a.close, b.close, rtol=1e-15)
        assert actions_of(a) == actions_of(b)


YAHOO = [(50.0, 49.0 * 50 / 50, 0), (49.0, 48.02, 2), (49.0, 49.0, 0)]  # f: .98, .98, 1


def test_dividends_are_implied_by_adj_close(tmp_path: Path) -> None:
    feed = open_yahoo(tmp_path, "split", YAHOO)
    bars = rows_of(feed)
    assert bars.close[:, 0].tolist() == [50, 49, 49]
    ((row, _, kind, value),) = actions_of(bars)
    assert (row, kind) == (2, DIVIDEND)
    assert value == pytest.approx(49 * (1 - 0.98))


def test_total_return_is_adj_close_where_there_is_one(tmp_path: Path) -> None:
    bars = rows_of(open_yahoo(tmp_path, "total_return", YAHOO))
    np.testing.assert_allclose(bars.close[:, 0], [49.0, 48.02, 49.0], rtol=1e-15)
    np.testing.assert_allclose(bars.open, bars.close)
    assert len(bars.actions) == 0


def test_raw_prices_come_back_from_a_split_column(tmp_path: Path) -> None:
    bars = rows_of(open_yahoo(tmp_path, "raw", YAHOO))
    assert bars.close[:, 0].tolist() == [100, 49, 49]
    assert bars.volume[:, 0].tolist() == [500, 1000, 1000]
    assert [a[:3] for a in actions_of(bars)] == [(1, 0, SPLIT), (2, 0, DIVIDEND)]


def test_a_bad_adj_close_costs_the_adjustment_and_not_the_bar(tmp_path: Path) -> None:
    rows = [(50, 0.0, 0), (50.0, 49.0, 0), (50.0, -1, 0), (50.0, 50.0, 0)]
    feed = open_yahoo(tmp_path, "total_return", rows)
    np.testing.assert_allclose(rows_of(feed).close[:, 0], [49, 49, 49, 50])
    assert feed.quality.counts == {"bad_adj_close": 2}
    assert feed.n_bars == 4


@pytest.mark.parametrize(
    ("header", "cells", "adjustment", "complaint"),
    [
        ("", "", "raw", "no split information, which adjustment raw needs"),
        (",adj_close", ",5", "raw", "no split information"),
        ("", "", "total_return", "no column adj_close or dividend"),
        (",split", ",1", "total_return", "no column adj_close or dividend"),
        (",Stock Splits", ",0", "split", "auto_adjust=False"),
    ],
)
def test_a_basis_that_a_file_cannot_give_is_refused(
    tmp_path: Path, header: str, cells: str, adjustment: str, complaint: str
) -> None:
    path = write(tmp_path / "p.csv", [HEADER + header, f"A,{DAYS[0]},5,5,5,5,1{cells}"])
    with pytest.raises(DataError, match=complaint):
        open_source(path, adjustment=adjustment, cache_dir=tmp_path / "cache")


def test_impossible_splits_and_dividends_are_set_aside(tmp_path: Path) -> None:
    lines = [f"A,{DAYS[0]},5,5,5,5,1,-2,0", f"A,{DAYS[1]},5,5,5,5,1,soon,9", f"A,{DAYS[2]},5,5,5,5,1,,-1"]
    path = write(tmp_path / "p.csv", [HEADER + ",split,dividend", *lines])
    feed = open_source(path, adjustment="total_return", cache_dir=tmp_path / "cache")
    assert feed.quality.counts == {"bad_dividend": 2, "bad_split": 2}
    assert rows_of(feed).close[:, 0].tolist() == [5, 5, 5]


def test_an_action_on_a_day_without_a_valid_bar_still_counts(tmp_path: Path) -> None:
    lines = [f"A,{DAYS[0]},10,10,10,10,1,0", f"A,{DAYS[1]},,,,,,2", f"A,{DAYS[2]},5,5,5,5,1,0"]
    path = write(tmp_path / "p.csv", [HEADER + ",split", *lines])
    feed = open_source(path, adjustment="split", cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(rows_of(feed).close[:, 0], [5, np.nan, 5])


def test_actions_follow_a_choice_of_symbols_and_days(tmp_path: Path) -> None:
    lines = [f"{s},{day},5,5,5,5,1,{d}" for s in "ABC" for day, d in zip(DAYS, (0, 1, 0, 2, 0), strict=True)]
    path = write(tmp_path / "p.csv", [HEADER + ",dividend", *lines])
    feed = open_source(
        path, adjustment="split", cache_dir=tmp_path / "cache", symbols=["C", "B"], start=DAYS[2]
    )
    assert actions_of(rows_of(feed)) == actions_of(rows_of(feed, 1)) == [(1, 0, 1, 2.0), (1, 1, 1, 2.0)]


blocks = st.lists(st.lists(st.sampled_from([1.0, 2.0, 0.1]), min_size=2, max_size=2), min_size=1, max_size=9)


@given(ratios=blocks, cut=st.integers(1, 9))
def test_the_future_product_is_its_definition_in_any_blocks(ratios: list[list[float]], cut: int) -> None:
    array = np.array(ratios)
    expected = [array[t + 1 :].prod(axis=0) for t in range(len(array))]
    later = np.ones(2)
    parts = [future_product(array[i : i + cut], later) for i in reversed(range(0, len(array), cut))]
    np.testing.assert_allclose(np.vstack(parts[::-1]), expected, rtol=1e-12)


@given(values=st.lists(st.sampled_from([np.nan, 1.0, 2.0]), max_size=9), cut=st.integers(1, 9))
def test_the_previous_value_is_its_definition_in_any_blocks(values: list[float], cut: int) -> None:
    column = np.array(values).reshape(-1, 1)
    before = np.array([np.nan])
    parts = [previous(column[i : i + cut], before) for i in range(0, len(column), cut)]
    for t in range(len(values)):
        known = [x for x in values[:t] if not np.isnan(x)]
        np.testing.assert_equal(np.vstack(parts)[t, 0], known[-1] if known else np.nan)


def test_the_noise_of_float32_is_no_dividend() -> None:
    rng = np.random.default_rng(1)
    close = rng.uniform(1, 300, (500, 4)).astype(np.float32)
    adj = (close * np.float32(0.8371)).astype(np.float32)
    factor = adj.astype(np.float64) / close.astype(np.float64)
    assert not implied_dividends(close.astype(np.float64), factor, Before.nothing(4)).any()
