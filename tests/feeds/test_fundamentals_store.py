"""What is stored of companies, and what could be known of them at any moment."""

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from engine.facts import PERIOD_UNKNOWN, FactItem
from engine.slab import Universe
from feeds.fundamentals import read_facts
from feeds.fundamentals_store import FundamentalsStore, known_facts, merged, read_versions
from feeds.provider import NUMBERS, Dated, Origin, Snapshot
from tests.feeds.price_files import market_data

DAY = 86_400 * 10**9
PERIODS = ("2024-12-31", "2025-03-31", "2025-06-30", "2025-09-30")


def new_york(*moment: int) -> int:
    return int(dt.datetime(*moment, tzinfo=ZoneInfo("America/New_York")).timestamp()) * 10**9


def said(source: str, fetched_at: int, **fields: Any) -> Snapshot:
    return Snapshot(symbol="AAA", source=source, fetched_at=fetched_at, **fields)


def eps(*values: float, first: int = 0) -> tuple[Dated, ...]:
    return tuple(Dated(period_end=PERIODS[first + i], value=value) for i, value in enumerate(values))


def store_of(folder: Path, *versions: Snapshot) -> FundamentalsStore:
    store = FundamentalsStore(folder)
    for version in versions:
        store.append(version)
    return store


NOV_1 = new_york(2025, 11, 1, 12)
NOV_20 = new_york(2025, 11, 20, 12)


def test_versions_are_added_and_read_back_as_they_were(tmp_path: Path) -> None:
    first, second = (
        said("yahoo", NOV_1, price=10.0, quarterly_eps=eps(0.1)),
        said("yahoo", NOV_20, price=11.0),
    )
    store = store_of(tmp_path, first)
    before = (tmp_path / "AAA.jsonl").read_bytes()
    store.append(second)
    assert (tmp_path / "AAA.jsonl").read_bytes().startswith(before)
    assert store.versions("aaa") == (first, second)
    assert store.newest("AAA", "yahoo") == second
    assert store.newest("AAA", "alpha_vantage") is None
    assert store.symbols() == ["AAA"]
    assert store.versions("ZZZ") == ()


def test_a_static_figure_counts_from_its_fetch_and_is_never_moved_back(tmp_path: Path) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_1, market_cap=5e8), said("yahoo", NOV_20, market_cap=6e8))
    assert store.as_of("AAA", NOV_1 - 1) is None
    for moment, expected in ((NOV_1, 5e8), (NOV_20 - 1, 5e8), (NOV_20, 6e8)):
        known = store.as_of("AAA", moment)
        assert known is not None
        assert known.market_cap == expected


def test_a_quarter_counts_from_its_filing_deadline_or_from_the_date_that_the_source_gives(
    tmp_path: Path,
) -> None:
    reported = Dated(period_end="2025-06-30", value=0.3, available_at=new_york(2025, 8, 6))
    store = store_of(tmp_path, said("yahoo", NOV_1, quarterly_eps=(*eps(0.1, 0.2), reported)))
    deadline = new_york(2025, 5, 16)  # 45 days after March is May 15; from the next session

    def known(moment: int) -> list[float]:
        snapshot = store.as_of("AAA", moment)
        return [] if snapshot is None else [dated.value for dated in snapshot.quarterly_eps]

    assert known(deadline - 1) == [0.1]
    assert known(deadline) == [0.1, 0.2]
    assert known(new_york(2025, 8, 6) - 1) == [0.1, 0.2]
    assert known(new_york(2025, 8, 6)) == [0.1, 0.2, 0.3]


def test_a_quarter_that_was_fetched_before_its_deadline_counts_from_the_fetch(tmp_path: Path) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_1, quarterly_eps=eps(0.4, first=3)))
    assert store.as_of("AAA", NOV_1 - 1) is None
    known = store.as_of("AAA", NOV_1)
    assert known is not None
    assert known.quarterly_eps == (Dated(period_end="2025-09-30", value=0.4, available_at=NOV_1),)


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (None, NOV_20 + 1_000),  # 45 days after September is November 14: on the 20th it was not filed yet
        (new_york(2025, 11, 18), new_york(2025, 11, 18)),  # a date of the source's own is believed
    ],
)
def test_a_quarter_that_its_source_did_not_have_after_the_deadline_counts_from_that_answer(
    tmp_path: Path, reported: int | None, expected: int
) -> None:
    late = Dated(period_end="2025-09-30", value=0.4, available_at=reported)
    store = store_of(
        tmp_path, said("yahoo", NOV_1, quarterly_eps=eps(0.1, 0.2, 0.3)),
        said("yahoo", NOV_20, quarterly_eps=eps(0.1, 0.2, 0.3)), said("yahoo", NOV_20 + DAY),
        said("yahoo", NOV_20 + 9 * DAY, quarterly_eps=(*eps(0.1, 0.2, 0.3), late)),
    )  # fmt: skip
    before, after = store.as_of("AAA", expected - 1), store.as_of("AAA", expected)
    assert before is not None
    assert after is not None
    assert [dated.period_end for dated in before.quarterly_eps] == list(PERIODS[:3])
    assert after.quarterly_eps[3:] == (Dated(period_end="2025-09-30", value=0.4, available_at=expected),)


def test_an_older_quarter_that_a_longer_answer_adds_counts_from_its_deadline() -> None:
    facts = known_facts([
        said("yahoo", NOV_1, quarterly_eps=eps(0.3, first=2)),
        said("yahoo", NOV_20, quarterly_eps=eps(0.1, 0.2, 0.3)),
    ])  # fmt: skip
    assert {f.period_end: f.available_at for f in facts}["2025-03-31"] == new_york(2025, 5, 16)


@pytest.mark.parametrize("day", ["0001-01-01", "1600-06-30", "9999-12-31"])
def test_a_period_that_ends_on_no_day_is_no_fact(tmp_path: Path, day: str) -> None:
    stood_for_none = Dated(period_end=day, value=9.0)
    store = store_of(tmp_path, said("yahoo", NOV_1, quarterly_eps=(stood_for_none, *eps(0.1))))
    known = store.as_of("AAA", NOV_20)
    assert known is not None
    assert [dated.value for dated in known.quarterly_eps] == [0.1]


def test_an_amendment_counts_from_when_it_was_fetched_and_the_old_figure_until_then(tmp_path: Path) -> None:
    store = store_of(
        tmp_path, said("yahoo", NOV_1, quarterly_eps=eps(0.1, 0.2)),
        said("yahoo", NOV_20, quarterly_eps=eps(0.1, 0.05)),
    )  # fmt: skip
    before, after = store.as_of("AAA", NOV_20 - 1), store.as_of("AAA", NOV_20)
    assert before is not None
    assert after is not None
    assert [dated.value for dated in before.quarterly_eps] == [0.1, 0.2]
    assert [dated.value for dated in after.quarterly_eps] == [0.1, 0.05]
    assert after.quarterly_eps[1].available_at == NOV_20


def test_an_estimate_of_a_period_that_is_not_over_is_no_fact(tmp_path: Path) -> None:
    estimate = Dated(period_end="2025-12-31", value=9.0)
    store = store_of(tmp_path, said("alpha_vantage", NOV_1, quarterly_eps=(estimate,)))
    known = store.as_of("AAA", NOV_20)
    assert known is not None
    assert known.quarterly_eps == ()


def test_yahoo_is_believed_first_and_what_it_lacks_comes_from_alpha_vantage_with_its_name(
    tmp_path: Path,
) -> None:
    store = store_of(
        tmp_path, said("alpha_vantage", NOV_1, price=9.0, roe=0.2, quarterly_eps=eps(1.0)),
        said("yahoo", NOV_20, price=10.0),
    )  # fmt: skip
    known = store.as_of("AAA", NOV_20)
    assert known is not None
    assert (known.price, known.roe) == (10.0, 0.2)
    assert known.origin("price") == Origin("yahoo", NOV_20)
    assert known.origin("roe") == known.origin("quarterly_eps") == Origin("alpha_vantage", NOV_1)


def test_a_version_of_one_source_does_not_make_what_another_said_younger() -> None:
    facts = known_facts([said("yahoo", NOV_1, roe=0.1), said("alpha_vantage", NOV_20, roe=0.2, eps_ttm=1.0)])
    assert [(f.item, f.value, f.available_at) for f in facts] == [
        ("roe", 0.1, NOV_1),
        ("eps_ttm", 1.0, NOV_20),
    ]


def test_earnings_of_two_sources_are_never_mixed_in_one_version() -> None:
    both = merged({
        "alpha_vantage": said("alpha_vantage", NOV_1, quarterly_eps=eps(1, 2, 3)),
        "yahoo": said("yahoo", NOV_20, quarterly_eps=eps(7.0)),
    })  # fmt: skip
    assert [dated.value for dated in both.quarterly_eps] == [7.0]


def test_a_version_from_before_the_newest_is_refused(tmp_path: Path) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_20))
    with pytest.raises(DataError, match="is the clock right"):
        store.append(said("yahoo", NOV_1))
    assert len(store.versions("AAA")) == 1


def test_an_answer_that_a_run_beside_this_one_overtook_counts_from_the_moment_of_that_one(
    tmp_path: Path,
) -> None:
    overtaken = said("alpha_vantage", NOV_20 - 3 * 10**9, roe=0.2)
    store = store_of(tmp_path, said("yahoo", NOV_20, price=10.0), overtaken)
    known = store.as_of("AAA", NOV_20)
    assert known is not None
    assert known.origin("roe") == Origin("alpha_vantage", NOV_20)
    assert store.as_of("AAA", NOV_20 - 1) is None


@pytest.mark.parametrize("symbol", ["../AAA", "", ".A", "A\\B", "A" * 30])
def test_what_is_no_symbol_never_becomes_a_path(tmp_path: Path, symbol: str) -> None:
    with pytest.raises(DataError, match="is no symbol"):
        FundamentalsStore(tmp_path).versions(symbol)
    with pytest.raises(DataError, match="is no symbol"):
        FundamentalsStore(tmp_path).append(msgspec.structs.replace(said("yahoo", 1), symbol=symbol))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_1), said("yahoo", NOV_20))
    path = tmp_path / "AAA.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"AAA\.jsonl:2: not a stored version .*; remove the line$"):
        store.versions("AAA")


@pytest.mark.parametrize(
    "damage", [(b"yahoo", b"yah\xffo"), (b'"fetched_at":1', b'"fetched_at":1' + b"0" * 20)]
)
def test_damage_that_is_still_json_is_named_too(tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_1))
    path = tmp_path / "AAA.jsonl"
    path.write_bytes(path.read_bytes().replace(*damage))
    for read in (lambda: store.versions("AAA"), lambda: read_facts(path)):
        with pytest.raises(DataError, match=r"AAA\.jsonl:1: not a stored version .*; remove the line$"):
            read()


def test_a_blank_line_is_no_version(tmp_path: Path) -> None:
    first, second = said("yahoo", NOV_1), said("yahoo", NOV_20)
    store = store_of(tmp_path, first)
    path = tmp_path / "AAA.jsonl"
    path.write_bytes(b"\n" + path.read_bytes() + b"\r\n \n")
    store.append(second)
    assert store.versions("AAA") == (first, second)


def test_a_full_disk_is_one_line_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, said("yahoo", NOV_1))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"AAA\.jsonl: cannot be written \(No space left on device\)"):
        store.append(said("yahoo", NOV_20))
    assert len(store.versions("AAA")) == 1


WRITER = """
import itertools, sys
from pathlib import Path
from feeds.fundamentals_store import FundamentalsStore
from feeds.provider import Snapshot
store = FundamentalsStore(Path(sys.argv[1]))
for i in itertools.count(1):
    store.append(Snapshot(symbol="AAA", source="yahoo", fetched_at=i, name="x" * 5000))
"""


def test_a_writer_that_is_killed_leaves_whole_versions_only(tmp_path: Path) -> None:
    path = tmp_path / "AAA.jsonl"
    for n in (3, 9):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=Path(__file__).parents[2]
        )
        deadline = time.monotonic() + 600
        while writer.poll() is None and (not path.exists() or len(read_versions(path)) < n):
            assert time.monotonic() < deadline
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        versions = read_versions(path)
        assert [version.fetched_at for version in versions] == list(range(1, len(versions) + 1))
        assert len(versions) >= n
        path.unlink()


CACHE = {
    "source": "alpha_vantage", "fetched_at": "2025-10-12T15:12:07.844849",
    "data": {"return_on_equity": 0.2, "eps": 1.5, "earnings_growth": None, "relative_strength": 0.4,
             "market_cap": 7e8},
}  # fmt: skip


@pytest.mark.parametrize("spelt", ["BRK-B", "BRK.B"])
def test_an_old_cache_of_a_share_class_is_found_however_it_is_spelt(tmp_path: Path, spelt: str) -> None:
    cache = {"source": "alpha_vantage", "fetched_at": "2025-11-01T12:00:00", "data": {"market_cap": 9e8}}
    (tmp_path / f"{spelt}.json").write_text(json.dumps(cache))
    store = FundamentalsStore(tmp_path)
    store.append(msgspec.structs.replace(said("yahoo", NOV_20), symbol="BRK.B"))
    assert store.symbols() == ["BRK-B"]
    for symbol in ("BRK-B", "BRK.B"):
        assert [version.source for version in store.versions(symbol)] == ["alpha_vantage", "yahoo"]


@pytest.mark.parametrize("market_cap", [-5.0, 0, "-", "None", True])
def test_a_market_cap_of_an_old_cache_that_cannot_be_one_is_absent(tmp_path: Path, market_cap: Any) -> None:
    data = {"market_cap": market_cap, "eps": -1.5}
    cache = {"source": "alpha_vantage", "fetched_at": "2025-11-01T12:00:00", "data": data}
    (tmp_path / "AAA.json").write_text(json.dumps(cache))
    (version,) = FundamentalsStore(tmp_path).versions("AAA")
    assert (version.market_cap, version.eps_ttm) == (None, -1.5)


def test_a_cache_of_the_original_tool_is_the_first_version(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "AAA.json").write_text(json.dumps(CACHE))
    store = FundamentalsStore(tmp_path / "new", legacy=tmp_path / "old")
    store.append(said("yahoo", NOV_1, market_cap=8e8))
    old, _ = store.versions("AAA")
    assert (old.roe, old.eps_ttm, old.market_cap, old.other) == (0.2, 1.5, 7e8, {"relative_strength": 0.4})
    assert (old.source, old.fetched_at // 10**9) == (
        "alpha_vantage",
        new_york(2025, 10, 12, 15, 12, 7) // 10**9,
    )
    known = store.as_of("AAA", NOV_1)
    assert known is not None
    assert (known.market_cap, known.roe) == (8e8, 0.2)
    assert store.symbols() == ["AAA"]
    (tmp_path / "old" / "BBB.json").write_text("{}")
    with pytest.raises(DataError, match=r"BBB\.json: not a fundamentals cache"):
        store.versions("BBB")


def test_the_same_folder_feeds_can_slim(tmp_path: Path) -> None:
    store_of(
        tmp_path, said("yahoo", NOV_1, roe=0.18, quarterly_eps=eps(0.1, 0.2), institutional_holders=40.0),
        said("yahoo", NOV_20, roe=0.19, quarterly_eps=eps(0.1, 0.3)),
    )  # fmt: skip
    facts = read_facts(tmp_path)
    assert facts.quality.n_rows == 0
    rows = facts.for_universe(Universe(("AAA",)))
    by_item = {FactItem(int(r["item"])): [] for r in rows}  # type: ignore[var-annotated]
    for row in rows:
        by_item[FactItem(int(row["item"]))].append((int(row["available_ns"]), float(row["value"])))
    assert by_item == {
        FactItem.EPS: [(new_york(2025, 2, 15), 0.1), (new_york(2025, 5, 16), 0.2), (NOV_20, 0.3)],
        FactItem.ROE: [(NOV_1, 0.18), (NOV_20, 0.19)],
        FactItem.INSTITUTIONAL_HOLDERS: [(NOV_1, 40.0)],
    }
    assert set(rows["period_end_ns"][rows["item"] == FactItem.ROE].tolist()) == {PERIOD_UNKNOWN}


# Properties, over histories of two sources

T0 = new_york(2025, 1, 1)
MOMENTS = st.integers(0, 340).map(lambda day: T0 + day * DAY)
NUMBER = st.one_of(st.none(), st.integers(0, 3).map(float))


@st.composite
def histories(draw: st.DrawFn, *, stated: bool = False) -> list[Snapshot]:
    """stated: every figure comes with a date, and of periods that were over by T0."""
    periods = ("2024-06-30", "2024-09-30") if stated else PERIODS
    dates = MOMENTS if stated else st.one_of(st.none(), MOMENTS)
    versions = []
    for moment in sorted(draw(st.lists(MOMENTS, min_size=1, max_size=6))):
        series = []
        for period in draw(st.lists(st.sampled_from(periods), unique=True)):
            series.append(Dated(period_end=period, value=draw(st.integers(0, 2)), available_at=draw(dates)))
        versions.append(
            said(draw(st.sampled_from(["yahoo", "alpha_vantage"])), moment, roe=draw(NUMBER),
                 market_cap=draw(NUMBER), quarterly_eps=tuple(sorted(series, key=lambda d: d.period_end)))
        )  # fmt: skip
    return versions


@settings(deadline=None)
@given(versions=histories(), moment=MOMENTS)
def test_nothing_is_visible_before_it_is_available(versions: list[Snapshot], moment: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = store_of(Path(folder), *versions).as_of("AAA", moment)
    if known is None:
        assert all(version.fetched_at > moment for version in versions)
        return
    for dated in known.quarterly_eps:
        assert dated.available_at is not None
        assert dated.available_at <= moment
        assert np.datetime64(dated.period_end, "ns").astype(np.int64) <= dated.available_at
    for name in NUMBERS:
        if getattr(known, name) is not None:
            assert known.origin(name).fetched_at <= moment


@settings(deadline=None)
@given(versions=histories(), moment=MOMENTS)
def test_a_further_version_changes_nothing_before_what_it_says_was_public(
    versions: list[Snapshot], moment: int
) -> None:
    """The last version of the history is the further one."""
    *earlier, _ = versions
    known, before = list(known_facts(versions)), list(known_facts(earlier))
    assert known[: len(before)] == before  # what was once known stays known
    new = known[len(before) :]
    first = min((fact.available_at for fact in new), default=T0 + 1000 * DAY)
    if earlier and moment < min(first, versions[-1].fetched_at):
        with tempfile.TemporaryDirectory() as folder:
            store = store_of(Path(folder), *earlier)
            answer = store.as_of("AAA", moment)
            store.append(versions[-1])
            assert store.as_of("AAA", moment) == answer


@settings(deadline=None)
@given(versions=histories(stated=True))
def test_what_is_known_a_day_later_is_the_same_a_day_later_and_so_changes_nothing_before(
    versions: list[Snapshot],
) -> None:
    shifted = [
        msgspec.structs.replace(
            version, fetched_at=version.fetched_at + DAY,
            quarterly_eps=tuple(
                msgspec.structs.replace(dated, available_at=(dated.available_at or 0) + DAY)
                for dated in version.quarterly_eps
            ),
        )
        for version in versions
    ]  # fmt: skip
    facts, later = list(known_facts(versions)), list(known_facts(shifted))
    assert [f.available_at + DAY for f in facts] == [f.available_at for f in later]
    assert [(f.item, f.period_end, f.value) for f in facts] == [
        (f.item, f.period_end, f.value) for f in later
    ]


@settings(deadline=None)
@given(versions=histories())
def test_the_file_says_to_can_slim_what_the_store_says(versions: list[Snapshot]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store_of(Path(folder), *versions)
        facts = read_facts(folder)
    told = sorted((fact.available_at, fact.item, fact.value) for fact in known_facts(versions))
    got = zip(facts.available_ns.tolist(), facts.item.tolist(), facts.value.tolist(), strict=True)
    assert sorted(got) == told
    assert facts.quality.n_rows == 0


@pytest.mark.market
def test_the_caches_that_people_have_are_versions() -> None:
    caches = market_data().parent / "legacy" / "fundamentals"
    if not caches.is_dir():
        pytest.skip(f"no caches of the original tool in {caches}")
    store = FundamentalsStore(caches)
    versions = [version for symbol in store.symbols() for version in store.versions(symbol)]
    assert len(versions) == len(list(caches.glob("*.json"))) > 40
    assert sum(version.market_cap is not None for version in versions) >= len(versions) - 1
