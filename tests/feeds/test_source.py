"""Price files from opening to slabs."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.panel import PanelFeed
from feeds.quality import ADJUSTMENTS
from feeds.sessions import day_number, session_closes
from feeds.source import open_source
from tests.feeds.price_files import (
    DAYS,
    HEADER,
    bar,
    column,
    market_data,
    reasons,
    rows_of,
    same_bars,
    write,
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def two_symbols(tmp_path: Path) -> Path:
    lines = [bar("BBB", day, 10 + i) for i, day in enumerate(DAYS[1:])]
    lines += [bar("AAA", day, 20 + i) for i, day in enumerate(DAYS[:3])]
    return write(tmp_path / "prices.csv", [HEADER, *lines])


def test_a_long_file_becomes_slabs_in_time_order(tmp_path: Path, cache: Path) -> None:
    feed = open_source(two_symbols(tmp_path), adjustment="split", cache_dir=cache)
    bars = rows_of(feed)
    assert feed.universe.symbols == ("AAA", "BBB")
    assert (feed.n_rows, feed.n_bars, feed.first_import) == (5, 7, True)
    assert bars.ts.tolist() == session_closes(np.array([day_number(d) for d in DAYS])).tolist()
    np.testing.assert_array_equal(column(bars, feed, "AAA"), [20, 21, 22, np.nan, np.nan])
    np.testing.assert_array_equal(column(bars, feed, "BBB"), [np.nan, 10, 11, 12, 13])


def test_any_slabbing_gives_the_same_rows(tmp_path: Path, cache: Path) -> None:
    feed = open_source(two_symbols(tmp_path), adjustment="split", cache_dir=cache)
    whole = rows_of(feed)
    assert all(same_bars(rows_of(feed, n), whole) for n in (1, 2, 3, 5))


def test_rows_out_of_order_are_sorted_and_rows_in_any_order_give_the_same_panel(
    tmp_path: Path, cache: Path
) -> None:
    path = two_symbols(tmp_path)
    header, *lines = path.read_text().splitlines()
    other = write(tmp_path / "other.csv", [header, *reversed(lines)])
    a, b = (open_source(p, adjustment="split", cache_dir=cache) for p in (path, other))
    assert same_bars(rows_of(a), rows_of(b))
    assert b.quality.n_rows == 0


def test_parquet_and_a_folder_per_symbol_give_the_same_bars(tmp_path: Path, cache: Path) -> None:
    path = two_symbols(tmp_path)
    columns = list(zip(*(line.split(",") for line in path.read_text().splitlines()), strict=True))
    table = {c[0]: list(c[1:]) if c[0] in ("symbol", "date") else [float(x) for x in c[1:]] for c in columns}
    pq.write_table(pa.table(table), tmp_path / "prices.parquet")
    for symbol in ("AAA", "BBB"):
        mine = [line.split(",", 1)[1] for line in path.read_text().splitlines() if line.startswith(symbol)]
        write(tmp_path / "folder" / f"{symbol}.csv", ["Date,Open,High,Low,Close,Volume", *mine])
    feeds = [
        open_source(tmp_path / name, adjustment="split", cache_dir=cache)
        for name in ("prices.csv", "prices.parquet", "folder")
    ]
    assert all(same_bars(rows_of(feed), rows_of(feeds[0])) for feed in feeds)


def test_bad_rows_are_set_aside_with_file_row_symbol_and_reason(tmp_path: Path, cache: Path) -> None:
    lines = [
        HEADER,
        bar("AAA", DAYS[0], 5),
        "AAA,2024-03-05,5,4,3,5,1",
        bar("AAA", DAYS[0], 9),
        bar("", DAYS[0], 5),
        bar("AAA", "soon", 5),
        "AAA,2024-03-06,5,6",
        f"AAA,{DAYS[2]},5,,4,5,1",
        bar("AAA", DAYS[3], 7, volume=0),
    ]
    path = write(tmp_path / "p.csv", lines)
    feed = open_source(path, adjustment="split", cache_dir=cache)
    assert sorted(reasons(feed)) == [
        (3, "AAA", "high_too_low"),
        (4, "AAA", "duplicate_date"),
        (5, "", "no_symbol"),
        (6, "AAA", "bad_date"),
        (7, "", "wrong_field_count"),
        (8, "AAA", "non_finite"),
    ]
    assert set(feed.quality.table["file"]) == {"p.csv"}
    assert feed.quality.table["date"][reasons(feed).index((6, "AAA", "bad_date"))] == "soon"
    closes = column(rows_of(feed), feed, "AAA")
    assert closes[~np.isnan(closes)].tolist() == [5, 7]  # the first of a session counts; no volume is valid
    with pytest.raises(DataError, match=r"^p\.csv:3: AAA 2024-03-05: high 4 < open 5 \(high_too_low\) and 5"):
        open_source(path, adjustment="split", cache_dir=cache, strict=True)


def test_a_cell_that_is_no_number_is_shown_as_it_stands(tmp_path: Path, cache: Path) -> None:
    lines = [HEADER + ",split", bar("AAA", DAYS[0], 5) + ",soon", f'AAA,{DAYS[1]},"1,010.5",,$9,9,1,']
    feed = open_source(write(tmp_path / "p.csv", lines), adjustment="split", cache_dir=cache)
    assert sorted(feed.quality.table["detail"]) == [
        "open '1,010.5', high nan, low '$9'",
        "split must be a number > 0, was 'soon'",
    ]


def test_a_file_of_a_folder_that_holds_no_rows_is_told(tmp_path: Path, cache: Path) -> None:
    header = "Date,Open,High,Low,Close,Volume"
    write(tmp_path / "f" / "AAA.csv", [header, f"{DAYS[0]},1,1,1,1,1"])
    write(tmp_path / "f" / "BBB.csv", [header])
    feed = open_source(tmp_path / "f", adjustment="split", cache_dir=cache)
    assert feed.quality.notes == ("BBB.csv has no row below its header",)
    with pytest.raises(DataError, match=r"BBB\.csv: no row below the header"):
        open_source(write(tmp_path / "BBB.csv", ["symbol," + header]), adjustment="split", cache_dir=cache)


def test_strictness_looks_at_what_is_in_use_only(tmp_path: Path, cache: Path) -> None:
    lines = [HEADER, bar("AAA", DAYS[0], 5), bar("BBB", DAYS[0], -5), bar("BBB", DAYS[1], 5)]
    path = write(tmp_path / "p.csv", lines)
    open_source(path, adjustment="split", cache_dir=cache, symbols=["AAA"], strict=True)
    open_source(path, adjustment="split", cache_dir=cache, start=DAYS[1], strict=True)


prices = st.one_of(st.floats(1, 100), st.sampled_from([0.0, -1.0, float("nan")]))
row = st.tuples(st.sampled_from("AB"), st.sampled_from(DAYS), prices, st.sampled_from([1.0, 0.5]))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(row, min_size=1, max_size=20))
def test_every_row_is_a_bar_or_set_aside(
    rows: list[tuple[str, str, float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariants 2 and 3 of feeds.quality."""
    folder = tmp_path_factory.mktemp("rows")
    lines = [f"{s},{day},{p},{p * high},{p * 0.5},{p},1" for s, day, p, high in rows]
    path = write(folder / "p.csv", [HEADER, *lines])
    first: dict[tuple[str, str], float] = {}
    for symbol, day, price, high in rows:
        if price > 0 and high >= 1:
            first.setdefault((symbol, day), price)
    if not first:
        with pytest.raises(DataError, match="no valid bar"):
            open_source(path, adjustment="split", cache_dir=folder / "c")
        return
    feed = open_source(path, adjustment="split", cache_dir=folder / "c")
    assert feed.n_bars == len(first)
    assert feed.n_bars + feed.quality.n_rows == len(rows)
    bars = rows_of(feed)
    closes = {
        (s, DAYS[int(np.searchsorted(CLOSES, t))]): float(x)
        for s, xs in zip(feed.universe.symbols, bars.close.T, strict=True)
        for t, x in zip(bars.ts, xs, strict=True)
        if not np.isnan(x)
    }
    assert closes == first


CLOSES = session_closes(np.array([day_number(day) for day in DAYS]))


def test_dates_are_inclusive_and_symbols_without_a_bar_between_them_left_out(
    tmp_path: Path, cache: Path
) -> None:
    path = two_symbols(tmp_path)
    feed = open_source(path, adjustment="split", cache_dir=cache, start=DAYS[3], end=DAYS[4])
    assert (feed.universe.symbols, feed.n_rows, feed.n_bars) == (("BBB",), 2, 2)
    assert any("1 symbol left out: no bar" in note for note in feed.quality.notes)
    both = open_source(path, adjustment="split", cache_dir=cache, start=DAYS[1], end=DAYS[2])
    assert (both.universe.symbols, both.n_rows, both.n_bars) == (("AAA", "BBB"), 2, 4)
    kept = open_source(
        path, adjustment="split", cache_dir=cache, start=DAYS[2], symbols=["BBB", "AAA"], end=DAYS[4]
    )
    assert (kept.universe.symbols, kept.n_bars) == (("AAA", "BBB"), 4)


def test_one_symbol_of_many_begins_at_its_first_bar(tmp_path: Path, cache: Path) -> None:
    feed = open_source(two_symbols(tmp_path), adjustment="split", cache_dir=cache, symbols=["bbb"])
    assert (feed.n_rows, feed.n_bars) == (4, 4)
    assert rows_of(feed, 3).close.tolist() == [[10], [11], [12], [13]]


def test_a_symbol_with_bad_rows_only_is_left_out_and_said_so(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER, bar("AAA", DAYS[0], 5), bar("ZZZ", DAYS[0], -5)])
    feed = open_source(path, adjustment="split", cache_dir=cache)
    assert feed.universe.symbols == ("AAA",)
    assert "ZZZ has no valid bar and is left out" in feed.quality.notes
    assert rows_of(feed).close.shape == (1, 1)


def test_an_unknown_symbol_and_an_empty_range_are_refused(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER, bar("BRK-B", DAYS[0], 5)])
    with pytest.raises(DataError, match=r"no symbol 'BRK\.A'; did you mean BRK-B\?"):
        open_source(path, adjustment="split", cache_dir=cache, symbols=["BRK.A"])
    with pytest.raises(DataError, match="no session between 2025-01-01 and the end; it holds 2024-03-04"):
        open_source(path, adjustment="split", cache_dir=cache, start="2025-01-01")
    with pytest.raises(DataError, match="adjustment must be raw, split or total_return, was 'none'"):
        open_source(path, adjustment="none", cache_dir=cache)


def test_either_spelling_of_a_share_class_will_do(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER, bar("BRK-B", DAYS[0], 5)])
    sectors = write(tmp_path / "s.csv", ["symbol,sector,exchange", "BRK.B,Financials,NYSE"])
    feed = open_source(path, adjustment="split", cache_dir=cache, symbols=["BRK.B"], sectors=sectors)
    assert feed.universe.symbols == ("BRK-B",)
    assert (feed.universe.sectors, feed.universe.exchanges) == (("Financials",), ("NYSE",))


def test_the_benchmark_is_aligned_by_session(tmp_path: Path, cache: Path) -> None:
    path = two_symbols(tmp_path)
    other = write(tmp_path / "b.csv", [HEADER, bar("IWM", DAYS[1], 200), bar("IWM", DAYS[3], 201, volume=7)])
    feed = open_source(path, adjustment="split", cache_dir=cache, benchmark=(other, "IWM"), start=DAYS[1])
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(rows_of(feed, 2).benchmark, [[200, 1000], nan, [201, 7], nan])
    assert feed.universe.benchmark == "IWM"
    assert any("IWM has no bar at 2 of 4 times" in note for note in feed.quality.notes)
    with pytest.raises(DataError, match="no symbol 'IWN'; did you mean IWM"):
        open_source(path, adjustment="split", cache_dir=cache, benchmark=(other, "IWN"))


def minutes(n_days: int, n_bars: int) -> list[str]:
    return [
        f"AAA,{day} 09:{30 + i}:00,{5 + i},{6 + i},{4 + i},{5 + i},10"
        for day in DAYS[:n_days]
        for i in range(n_bars)
    ]


def test_an_intraday_file_keeps_its_timestamps(tmp_path: Path, cache: Path) -> None:
    feed = open_source(
        write(tmp_path / "p.csv", [HEADER, *minutes(3, 4)]), adjustment="split", cache_dir=cache
    )
    ts = rows_of(feed).ts
    assert (feed.n_rows, feed.n_bars, feed.quality.n_rows) == (12, 12, 0)
    assert set(np.diff(ts)[:3].tolist()) == {60_000_000_000}
    assert ts[0] == 1_709_562_600 * 10**9  # 09:30 New York is 14:30 UTC


def test_a_daily_file_stamped_with_times_is_daily(tmp_path: Path, cache: Path) -> None:
    first = [f"AAA,{day} 13:30:00,5,6,4,5,10" for day in DAYS]
    last = [f"AAA,{DAYS[-1]} {clock},5,6,4,5,10" for clock in ("18:22:50", "20:00:02", "20:00:02")]
    path = write(tmp_path / "p.csv", [HEADER, *first, first[0], *last])
    feed = open_source(path, adjustment="split", cache_dir=cache)
    assert rows_of(feed).ts.tolist() == CLOSES.tolist()
    assert feed.quality.counts == {"duplicate_date": 2, "duplicate_session": 2}


def test_dates_as_midnight_utc_are_dates(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER, *(bar("AAA", f"{day}T00:00:00Z", 5) for day in DAYS)])
    assert rows_of(open_source(path, adjustment="split", cache_dir=cache)).ts.tolist() == CLOSES.tolist()


def test_the_second_opening_imports_nothing(tmp_path: Path, cache: Path) -> None:
    path = two_symbols(tmp_path)
    calls: list[tuple[int, int]] = []
    first = open_source(path, adjustment="split", cache_dir=cache, progress=lambda *n: calls.append(n))
    second = open_source(path, adjustment="split", cache_dir=cache)
    assert calls == [(7, 7)]
    assert not second.first_import
    assert second.fingerprint == first.fingerprint
    assert same_bars(rows_of(first), rows_of(second))


def test_changed_content_or_basis_is_another_panel(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER + ",adj_close", bar("AAA", DAYS[0], 5) + ",5"])
    first = open_source(path, adjustment="split", cache_dir=cache)
    other = open_source(path, adjustment="total_return", cache_dir=cache)
    write(path, [HEADER + ",adj_close", bar("AAA", DAYS[0], 6) + ",6"])
    changed = open_source(path, adjustment="split", cache_dir=cache)
    assert len({first.fingerprint, other.fingerprint, changed.fingerprint}) == 3
    assert rows_of(changed).close.tolist() == [[6.0]]


def damage(feed: PanelFeed, how: str) -> None:
    folder = feed.panel.folder
    if how == "cut":
        (folder / "close.npy").write_bytes((folder / "close.npy").read_bytes()[:-8])
    elif how == "missing":
        (folder / "volume.npy").unlink()
    elif how == "close":
        content = bytearray((folder / "close.npy").read_bytes())
        content[-3] ^= 1
        (folder / "close.npy").write_bytes(content)
    elif how == "actions":
        content = bytearray((folder / "ts.npy").read_bytes())
        content[-1] ^= 1
        (folder / "ts.npy").write_bytes(content)
    elif how == "meta":
        meta = json.loads((folder / "meta.json").read_text())
        meta["meta"]["n_rows"] += 1
        (folder / "meta.json").write_text(json.dumps(meta))
    else:
        (folder / "meta.json").write_text("{")


@pytest.mark.parametrize("how", ["cut", "missing", "close", "actions", "meta", "json"])
def test_a_damaged_panel_is_rebuilt_and_said_so(tmp_path: Path, cache: Path, how: str) -> None:
    path = two_symbols(tmp_path)
    whole = open_source(path, adjustment="split", cache_dir=cache)
    expected = rows_of(whole)
    damage(whole, how)
    again = open_source(path, adjustment="split", cache_dir=cache)
    assert again.first_import
    assert any("was damaged" in note and "rebuilt" in note for note in again.quality.notes)
    assert same_bars(rows_of(again), expected)


def test_a_failed_import_leaves_nothing_behind(tmp_path: Path, cache: Path) -> None:
    path = write(tmp_path / "p.csv", [HEADER, bar("AAA", DAYS[0], -5)])
    with pytest.raises(DataError, match=r"no valid bar; the first fault is p\.csv:2: AAA"):
        open_source(path, adjustment="split", cache_dir=cache)
    assert list((cache / "panels").iterdir()) == []


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = write(tmp_path / "file", ["x"])
    with pytest.raises(DataError, match="cannot store the imported data"):
        open_source(two_symbols(tmp_path), adjustment="split", cache_dir=blocked)


def test_rows_per_slab_must_be_positive(tmp_path: Path, cache: Path) -> None:
    feed = open_source(two_symbols(tmp_path), adjustment="split", cache_dir=cache)
    with pytest.raises(DataError, match="rows per slab must be >= 1, was 0"):
        rows_of(feed, 0)


@pytest.mark.market
def test_the_400_names_lose_nine_rows(cache: Path) -> None:
    path = market_data() / "smallcap_daily.parquet"
    feed = open_source(path, adjustment="split", cache_dir=cache)
    assert (len(feed.universe), feed.n_rows, feed.n_bars) == (400, 3569, 1_043_399 - 9)
    faults = {
        (s, d, r)
        for s, d, r in zip(*(feed.quality.table[n] for n in ("symbol", "date", "reason")), strict=True)
    }
    assert {(s, d) for s, d, r in faults if r == "price_not_positive"} == {
        ("PRTA", "2012-12-18"), ("PRTA", "2012-12-19"), ("PRTA", "2012-12-20"), ("RCAT", "2010-01-05"),
        ("RCAT", "2012-12-28"),
    }  # fmt: skip
    assert ("SITC", "2021-05-05", "high_too_low") in faults
    assert ("WLY", "2021-05-05", "low_too_high") in faults
    assert not ADJUSTMENTS & {r for _, _, r in faults}
    wiley = feed.universe.symbols.index("WLY")
    assert 55 <= (feed.panel.actions["symbol"] == wiley).sum() <= 58  # fourteen years of quarterly dividends


@pytest.mark.market
def test_the_vendors_repeats_are_all_set_aside(cache: Path) -> None:
    feed = open_source(market_data() / "vendor_with_duplicates.parquet", adjustment="split", cache_dir=cache)
    assert feed.quality.counts == {"duplicate_date": 32_885, "duplicate_session": 105, "high_too_low": 11}
    assert (feed.n_rows, feed.n_bars) == (250, 2999)  # one name's last session is bad in every snapshot
    assert feed.n_bars + feed.quality.n_rows == 36_000
