"""Rows of files that no market has seen: set aside with file, row and reason, and never used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import DataError
from feeds.source import open_source
from feeds.spikes import neighbours, spikes
from tests.feeds.price_files import HEADER, bar, column, market_data, reasons, rows_of, write

DAYS = [f"2024-03-{day:02}" for day in (4, 5, 6, 7, 8, 11, 12, 13)]
CLOSES = [20.0 + i for i in range(len(DAYS))]


def file_of(folder: Path, changed: dict[int, str], header: str = HEADER) -> Path:
    """Write a file of AAA with some lines changed, counted from 0."""
    lines = [bar("AAA", day, close) for day, close in zip(DAYS, CLOSES, strict=True)]
    return write(folder / "p.csv", [header, *(changed.get(i, line) for i, line in enumerate(lines))])


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_bar_at_another_power_of_ten_is_set_aside_with_its_place(tmp_path: Path, factor: float) -> None:
    close = CLOSES[3] * factor
    bad = f"AAA,{DAYS[3]},{close},{close * 1.01},{close * 0.99},{close},1000"
    feed = open_source(file_of(tmp_path, {3: bad}), adjustment="split", cache_dir=tmp_path / "cache")
    assert reasons(feed) == [(5, "AAA", "price_spike")]
    assert feed.quality.table["detail"] == [f"close {close:g} between 22 and 24"]
    expected = [*CLOSES[:3], np.nan, *CLOSES[4:]]
    present = [close for close in expected if not np.isnan(close)]
    found = column(rows_of(feed), feed, "AAA")
    np.testing.assert_array_equal(found[~np.isnan(found)], present)
    with pytest.raises(DataError, match=r"p\.csv:5: AAA 2024-03-07"):
        open_source(file_of(tmp_path, {3: bad}), adjustment="split", cache_dir=tmp_path / "c2", strict=True)


def test_a_spike_is_found_in_the_row_that_became_the_bar(tmp_path: Path) -> None:
    bad = "\n".join(f"AAA,{DAYS[3]},{c},{c + 1},{c - 1},{c},1000" for c in (2_300.0, 23.0))
    feed = open_source(file_of(tmp_path, {3: bad}), adjustment="split", cache_dir=tmp_path / "cache")
    assert sorted(reasons(feed)) == [(5, "AAA", "price_spike"), (6, "AAA", "duplicate_date")]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (bar("AAA", DAYS[3], 23.0, 1e12), "absurd_volume"),
        (bar("AAA", "2199-01-04", 23.0), "future_date"),
        (bar("AAA", DAYS[3], 23.0, -5), "negative_volume"),
        (bar("AAA", DAYS[3], -23.0), "price_not_positive"),
        (f"AAA,{DAYS[3]},nan,24,22,23,1000", "non_finite"),
        (f"AAA,{DAYS[3]},23,inf,22,23,1000", "non_finite"),
    ],
)
def test_what_cannot_be_is_set_aside_and_leaves_no_row_of_its_own(
    tmp_path: Path, changed: str, reason: str
) -> None:
    feed = open_source(file_of(tmp_path, {3: changed}), adjustment="split", cache_dir=tmp_path / "cache")
    assert reasons(feed) == [(5, "AAA", reason)]
    bars = rows_of(feed)
    closes = column(bars, feed, "AAA")
    assert closes[~np.isnan(closes)].tolist() == [*CLOSES[:3], *CLOSES[4:]]
    assert str(np.datetime64(int(bars.ts[-1]), "ns"))[:10] == DAYS[-1]


def test_a_split_that_is_not_stated_stays_and_so_do_the_ends(tmp_path: Path) -> None:
    shares = [1.0, 1.0, 1.0, 25.0, 25.0, 25.0, 25.0, 25.0]
    split = {i: bar("AAA", DAYS[i], CLOSES[i] * shares[i]) for i in range(len(DAYS))}
    ends = {0: bar("AAA", DAYS[0], 2_000.0), 7: bar("AAA", DAYS[7], 2_700.0)}
    for name, changed in (("split", split), ("ends", ends)):
        feed = open_source(
            file_of(tmp_path / name, changed), adjustment="split", cache_dir=tmp_path / f"{name}-cache"
        )
        assert reasons(feed) == []


def test_neighbours_are_the_bars_beside_whatever_rows_lie_between() -> None:
    close = np.array([[np.nan, 1.0], [5.0, np.nan], [np.nan, np.nan], [6.0, 2.0]])
    before, after = neighbours(close)
    np.testing.assert_array_equal(before, [[np.nan, np.nan], [np.nan, 1.0], [5.0, 1.0], [5.0, 1.0]])
    np.testing.assert_array_equal(after, [[5.0, 2.0], [6.0, 2.0], [6.0, 2.0], [np.nan, np.nan]])


@pytest.mark.market
def test_of_real_history_nothing_is_set_aside_and_of_slipped_points_nearly_all(tmp_path: Path) -> None:
    path = market_data() / "smallcap_daily.parquet"
    feed = open_source(path, adjustment="split", cache_dir=tmp_path / "cache", start="2015-01-01")
    assert not {"price_spike", "absurd_volume", "future_date"} & set(feed.quality.table["reason"])
    bars, rng = rows_of(feed), np.random.default_rng(9)
    at = np.argwhere(~np.isnan(bars.close[3:-3])) + np.array([3, 0])
    at = at[rng.choice(len(at), 1_000, replace=False)]
    n_found = 0
    for row, symbol in at.tolist():
        low, high, close = (
            values[row - 3 : row + 4, symbol : symbol + 1].copy()
            for values in (bars.low, bars.high, bars.close)
        )
        for values in (low, high, close):
            values[3] *= 100.0 if row % 2 else 0.01
        n_found += bool(spikes(low, high, *neighbours(close))[3, 0])
    assert n_found >= 970
