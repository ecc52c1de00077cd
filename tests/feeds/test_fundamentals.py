"""Facts and the moment from which they may be used."""

import datetime as dt
import json
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import DataError
from engine.facts import FACT_DTYPE, PERIOD_UNKNOWN, FactItem
from engine.slab import Universe
from feeds.fundamentals import read_facts
from feeds.visibility import Lag, visible_from
from tests.feeds.price_files import market_data, write

HEADER = "symbol,period_end,available_at,item,value"


def new_york(*moment: int) -> int:
    return int(dt.datetime(*moment, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9


def day_ns(*day: int) -> int:
    return int(dt.datetime(*day, tzinfo=dt.UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("available_at", "expected"),
    [
        ("2024-03-08T16:05:00-05:00", new_york(2024, 3, 8, 16, 5)),
        ("2024-03-08 16:05:00", new_york(2024, 3, 8, 16, 5)),
        ("2024-03-08", new_york(2024, 3, 9)),
        ("2024-03-08 00:00:00", new_york(2024, 3, 9)),
    ],
)
def test_a_date_counts_from_the_next_session_and_a_time_at_once(available_at: str, expected: int) -> None:
    assert visible_from(available_at, PERIOD_UNKNOWN, "eps") == expected


@pytest.mark.parametrize(
    ("item", "expected"),
    [("eps", new_york(2024, 2, 15)), ("annual_eps", new_york(2024, 3, 31)), ("roe", new_york(2024, 3, 31))],
)
def test_a_period_end_alone_counts_from_the_filing_deadline(item: str, expected: int) -> None:
    assert visible_from("", day_ns(2023, 12, 31), item) == expected
    assert visible_from("", day_ns(2023, 12, 31), item, Lag(46, 91)) == expected + 24 * 3600 * 10**9


def test_the_assumed_lag_is_a_setting(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", [HEADER, "AAA,2023-12-31,,eps,1", "AAA,2023-12-31,2024-01-20,roe,1"])
    facts = read_facts(path, lag=Lag(10, 10))
    available = dict(zip(facts.item.tolist(), facts.available_ns.tolist(), strict=True))
    assert available == {"eps": new_york(2024, 1, 11), "roe": new_york(2024, 1, 21)}


def test_facts_are_sorted_by_visibility_and_amendments_keep_their_order(tmp_path: Path) -> None:
    lines = [
        HEADER, "BBB,2023-12-31,2024-03-02,eps,2", "AAA,2023-12-31,2024-03-02,eps,1.0",
        "AAA,2023-12-31,2024-03-02,eps,1.1", "AAA,2023-12-31,2024-02-01,EPS,0.9", "CCC,,2024-01-01,mood,1",
    ]  # fmt: skip
    facts = read_facts(write(tmp_path / "f.csv", lines))
    assert list(zip(facts.symbol.tolist(), facts.value.tolist(), strict=True)) == [
        ("CCC", 1), ("AAA", 0.9), ("AAA", 1.0), ("AAA", 1.1), ("BBB", 2),
    ]  # fmt: skip
    rows = facts.for_universe(Universe(("AAA", "BBB", "ZZZ")))
    assert rows.dtype == FACT_DTYPE
    assert rows["value"].tolist() == [0.9, 1.0, 1.1, 2]
    assert rows["symbol"].tolist() == [0, 0, 0, 1]
    assert set(rows["item"].tolist()) == {int(FactItem.EPS)}
    assert set(rows["period_end_ns"].tolist()) == {day_ns(2023, 12, 31)}
    assert len(facts.for_universe(Universe(("QQQ",)))) == 0


def test_parquet_holds_the_same_facts(tmp_path: Path) -> None:
    csv = write(tmp_path / "f.csv", [HEADER, "AAA,2023-12-31,2024-03-02,roe,0.2"])
    table = pa.table({
        "symbol": ["AAA"], "period_end": [dt.date(2023, 12, 31)], "available_at": [dt.date(2024, 3, 2)],
        "item": ["roe"], "value": [0.2],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "f.parquet")
    universe = Universe(("AAA",))
    np.testing.assert_array_equal(
        read_facts(csv).for_universe(universe), read_facts(tmp_path / "f.parquet").for_universe(universe)
    )


def test_a_static_cache_counts_from_when_it_was_fetched(tmp_path: Path) -> None:
    data = {"return_on_equity": 0.2, "eps": 1.5, "earnings_growth": None}
    cache = {"source": "alpha_vantage", "fetched_at": "2025-10-12T15:12:07.844849", "data": data}
    (tmp_path / "KRYS.json").write_text(json.dumps(cache))
    facts = read_facts(tmp_path)
    assert facts.item.tolist() == ["eps_ttm", "roe"]  # of twelve months, not of a quarter
    assert (facts.available_ns > new_york(2025, 10, 12, 15, 12)).all()
    assert (facts.period_end_ns == PERIOD_UNKNOWN).all()
    assert facts.for_universe(Universe(("KRYS",)))["item"].tolist() == [int(FactItem.ROE)]


def test_bad_rows_are_set_aside(tmp_path: Path) -> None:
    lines = [
        HEADER,
        "AAA,2023-12-31,,eps,x",
        "AAA,,,eps,1",
        ",2023-12-31,,eps,1",
        "AAA,2023-12-31,2023-11-01,eps,1",
        "AAA,soon,2024-01-01,eps,1",
        "AAA,2023-12-31,,,1",
        "AAA,2023-12-31,,eps,7",
    ]
    path = write(tmp_path / "f.csv", lines)
    facts = read_facts(path)
    assert facts.value.tolist() == [7]
    assert list(zip(facts.quality.table["row"], facts.quality.table["reason"], strict=True)) == [
        (2, "non_finite"), (3, "bad_date"), (4, "no_symbol"), (5, "available_before_period_end"),
        (6, "bad_date"), (7, "no_item"),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"^f\.csv:2: AAA 2023-12-31: value 'x' is no finite number"):
        read_facts(path, strict=True)


def test_an_open_quote_costs_its_line_and_not_the_rest_of_the_file(tmp_path: Path) -> None:
    lines = [HEADER, 'AAA,2023-12-31,,eps,"1', "BBB,2023-12-31,,eps,2", 'CCC,2023-12-31,,eps,"3"']
    facts = read_facts(write(tmp_path / "f.csv", lines))
    assert facts.symbol.tolist() == ["AAA", "BBB", "CCC"]
    assert facts.value.tolist() == [1, 2, 3]


@pytest.mark.parametrize("day", ["0001-01-01", "0001-01-01T00:00:00+05:00", "1600-06-30", "9999-12-31"])
def test_a_date_that_stands_for_none_is_a_bad_date(tmp_path: Path, day: str) -> None:
    lines = [HEADER, f"AAA,{day},2024-03-02,eps,1", f"AAA,2023-12-31,{day},eps,2", "AAA,2023-12-31,,eps,3"]
    facts = read_facts(write(tmp_path / "f.csv", lines))
    assert facts.value.tolist() == [3]
    assert facts.quality.table["reason"] == ["bad_date", "bad_date"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("f.csv", "symbol,item\n", "no column for value, available_at"),
        ("f.csv", "symbol,item,item,value,period_end\n", "the column item is there twice"),
        ("f.json", "{}", "not a fundamentals cache"),
        ("f.parquet", "x", "not a readable Parquet file"),
        ("f.txt", "x", r"expected \.csv, \.parquet, \.json or \.jsonl"),
    ],
)
def test_a_file_that_holds_no_facts_is_one_line(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=complaint):
        read_facts(tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        read_facts(tmp_path / "none.csv")


@pytest.mark.market
def test_the_caches_that_people_have_load() -> None:
    caches = market_data().parent / "legacy" / "fundamentals"
    if not caches.is_dir():
        pytest.skip(f"no caches of the original tool in {caches}")
    facts = read_facts(caches)
    assert len(facts) > 600
    assert facts.quality.n_rows == 0
    assert {"earnings_growth", "roe"} <= set(facts.item.tolist())
