"""A new list is taken whole and plausible, or not at all."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from engine.errors import DataError
from tests.universe.index_lists import export, names
from universe.constituents import RUSSELL_2000, SP500, ConstituentStore
from universe.refresh import Refreshed, refresh

TODAY = dt.date(2026, 11, 22)
LAST = dt.date(2026, 5, 5)


def taken(folder: Path, content: bytes, index=RUSSELL_2000, undated: dt.date = TODAY) -> Refreshed:
    return refresh(ConstituentStore(folder), index, content, "list.csv", undated=undated, today=TODAY)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    taken(tmp_path, export(LAST, names(1_900)))
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.csv")}


def test_a_list_is_kept_by_its_own_date_with_what_changed(kept: Path) -> None:
    done = taken(kept, export(dt.date(2026, 11, 20), [*names(1_890), "NEWA", "NEWB"]))
    assert (done.as_of, done.is_new, done.is_dated) == (dt.date(2026, 11, 20), True, True)
    assert (done.before, done.joined, done.left) == (LAST, ("NEWA", "NEWB"), tuple(names(10, 1_890)))
    assert len(everything(kept)) == 2
    again = taken(kept, export(dt.date(2026, 11, 20), [*names(1_890), "NEWA", "NEWB"]))
    assert not again.is_new
    assert len(everything(kept)) == 2


def test_an_older_list_is_compared_with_the_one_before_it_in_time(kept: Path) -> None:
    done = taken(kept, export(dt.date(2025, 5, 13), names(1_800)))
    assert (done.before, done.joined, done.left) == (None, (), ())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (export(TODAY, names(950)), "950 companies, expected 1,700 to 2,200"),
        (export(TODAY, names(1_705)), "1,705 companies, the list of 2026-05-05 has 1,900"),
        (export(TODAY, names(1_900), footer=False), "cut short, there is no footer"),
        (export(TODAY, names(1_900), title="iShares Core S&P Small-Cap ETF"), "it is of 'iShares Core S&P"),
        (export(TODAY + dt.timedelta(days=1), names(1_900)), "after today"),
        (export(TODAY, names(1_900))[:50_000], "cut short|not CSV"),
        (b"<html><body>Access denied</body></html>", "a web page"),
        (b"", "no header"),
    ],
)
def test_what_is_refused_leaves_everything_as_it_was(kept: Path, content: bytes, complaint: str) -> None:
    before = everything(kept)
    with pytest.raises(DataError, match=complaint):
        taken(kept, content)
    assert everything(kept) == before


def test_a_list_without_a_date_gets_the_one_that_is_given(tmp_path: Path) -> None:
    lines = ["Symbol,Security,GICS Sector", *(f"{name},x,Energy" for name in names(503))]
    done = taken(tmp_path, "\n".join(lines).encode(), SP500, dt.date(2026, 8, 6))
    assert (done.as_of, done.is_dated, done.path.name) == (dt.date(2026, 8, 6), False, "2026-08-06.csv")
