"""Membership as of a day, against its definition, and the lists on disk."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.holdings import Company
from feeds.sessions import session_closes
from tests.feeds.price_files import market_data
from tests.universe.index_lists import SMALL, companies, export
from universe.constituents import RUSSELL_2000, SP500, ConstituentStore, DatedList, Membership
from universe.refresh import refresh

DAY = dt.timedelta(days=1)
DAYS = st.dates(dt.date(2020, 1, 1), dt.date(2020, 3, 1))
SYMBOLS = ("AA", "BB", "CC", "DD")


@st.composite
def dated_lists(draw: st.DrawFn) -> list[DatedList]:
    days = draw(st.lists(DAYS, min_size=1, max_size=4, unique=True))
    return [
        DatedList(
            day,
            tuple(
                Company(symbol, added=added.isoformat() if added else "")
                for symbol in draw(st.sets(st.sampled_from(SYMBOLS), min_size=1))
                for added in [draw(st.none() | DAYS)]
            ),
        )
        for day in days
    ]


def entered(one: DatedList, symbol: str) -> dt.date | bool | None:
    """The date of entry, None for a member without one, False for no member."""
    for company in one.companies:
        if company.symbol == symbol:
            return dt.date.fromisoformat(company.added) if company.added else None
    return False


def is_member(lists: list[DatedList], symbol: str, day: dt.date) -> bool:
    """The definition, word for word, a symbol and a day at a time."""
    lists = sorted(lists)
    known = [one for one in lists if one.as_of < day]
    current = known[-1] if known else lists[0]
    upcoming = next((one for one in lists if one.as_of >= day), None) if known else None
    if upcoming is not None:
        entry = entered(upcoming, symbol)
        if isinstance(entry, dt.date) and entry <= day:
            return True
        if isinstance(entry, dt.date):
            current_entry = entered(current, symbol)
            return current_entry is None or (isinstance(current_entry, dt.date) and current_entry <= day)
    entry = entered(current, symbol)
    return entry is None or (isinstance(entry, dt.date) and entry <= day)


@settings(deadline=None)
@given(dated_lists(), st.lists(DAYS, min_size=1, max_size=8))
def test_membership_on_a_day_is_what_the_definition_says(lists: list[DatedList], days: list[dt.date]) -> None:
    membership = Membership.from_lists(SMALL, lists)
    for day in days:
        assert membership.on(day) == {s for s in SYMBOLS if is_member(lists, s, day)}


@settings(deadline=None)
@given(dated_lists(), DAYS, st.sets(st.sampled_from(SYMBOLS)))
def test_a_list_changes_nothing_up_to_its_date(
    lists: list[DatedList], day: dt.date, symbols: set[str]
) -> None:
    lists = [one for one in lists if one.as_of < day] or [DatedList(day - DAY, companies("AA"))]
    later = DatedList(day, companies(*symbols))  # without dates of entry it tells nothing of before
    before, after = Membership.from_lists(SMALL, lists), Membership.from_lists(SMALL, [*lists, later])
    for back in range(90):
        assert after.on(day - back * DAY) == before.on(day - back * DAY)
    assert after.on(day + DAY) == symbols


@settings(deadline=None)
@given(dated_lists(), DAYS, DAYS)
def test_ever_is_the_union_over_the_days(lists: list[DatedList], one: dt.date, other: dt.date) -> None:
    first, last = sorted((one, other))
    membership = Membership.from_lists(SMALL, lists)
    days = [first + i * DAY for i in range((last - first).days + 1)]
    assert membership.ever(first, last) == sorted(set().union(*(membership.on(day) for day in days)))


@settings(deadline=None)
@given(dated_lists(), DAYS)
def test_the_desk_sees_at_a_close_what_held_on_that_day(lists: list[DatedList], day: dt.date) -> None:
    membership = Membership.from_lists(SMALL, lists)
    table = membership.for_symbols(SYMBOLS)
    (close,) = session_closes(np.array([(day - dt.date(1970, 1, 1)).days]))
    period = np.flatnonzero(table.since_ns <= close)[-1]
    assert {s for s, on in zip(SYMBOLS, table.is_member[period], strict=True) if on} == membership.on(day)


@settings(deadline=None)
@given(dated_lists(), DAYS)
def test_companies_of_a_day_are_its_members(lists: list[DatedList], day: dt.date) -> None:
    membership = Membership.from_lists(SMALL, lists)
    assert set(membership.companies(day)) == membership.on(day)


def test_before_the_first_list_it_stands_in_less_those_who_entered_later() -> None:
    first = DatedList(dt.date(2025, 5, 13), companies("AA", BB="2020-01-02"))
    membership = Membership.from_lists(SMALL, [first])
    assert membership.known_from == dt.date(2025, 5, 14)
    assert membership.on(dt.date(2020, 1, 1)) == {"AA"}
    assert membership.on(dt.date(2020, 1, 2)) == {"AA", "BB"}


def test_share_classes_are_found_whichever_way_prices_spell_them() -> None:
    membership = Membership.from_lists(SMALL, [DatedList(dt.date(2025, 5, 13), companies("MOG.A", "BRK.B"))])
    table = membership.for_symbols(("AAA", "BRK-B", "MOGA"))
    assert table.is_member.tolist() == [[0, 1, 1]]


def test_every_list_is_kept_and_a_second_one_of_the_same_day_counts(tmp_path: Path) -> None:
    store = ConstituentStore(tmp_path)
    files = store.files(RUSSELL_2000)
    day = dt.date(2025, 5, 13)
    first, is_new = files.add(day, export(day, ["AA"]))
    assert is_new
    assert files.add(day, export(day, ["AA"])) == (first, False)
    second, _ = files.add(day, export(day, ["AA", "BB"]))
    third, _ = files.add(day, export(day, ["CC"]))
    assert [path.name for path in (first, second, third)] == [
        "2025-05-13.csv", "2025-05-13.2.csv", "2025-05-13.3.csv"
    ]  # fmt: skip
    assert first.read_bytes() == export(day, ["AA"])
    assert [c.symbol for c in store.lists(RUSSELL_2000)[0].companies] == ["CC"]


def test_without_a_list_the_command_that_fetches_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no list of the S&P 500; fetch one with refresh-sp500"):
        ConstituentStore(tmp_path).membership(SP500)


@pytest.mark.market
def test_the_real_lists_of_the_russell_2000_tell_who_came_and_went(tmp_path: Path) -> None:
    store = ConstituentStore(tmp_path)
    for name in ("IWM_holdings_2026-05-05.csv", "IWM_holdings_2025-05-13.csv"):
        refresh(
            store, RUSSELL_2000, (market_data() / name).read_bytes(), name,
            undated=dt.date(2026, 11, 22), today=dt.date(2026, 11, 22),
        )  # fmt: skip
    membership = store.membership(RUSSELL_2000)
    before, after = membership.on(dt.date(2026, 5, 5)), membership.on(dt.date(2026, 5, 6))
    assert (len(before), len(after), len(before & after)) == (1926, 1911, 1609)
    assert membership.on(dt.date(2025, 5, 13)) == membership.on(dt.date(2025, 5, 14)) == before
    # Counted in the two files by hand: SFM was promoted out of the index, BE came into it
    assert ("SFM" in before, "SFM" in after) == (True, False)
    assert ("AAP" in before, "AAP" in after) == (False, True)


@pytest.mark.market
def test_dates_of_entry_tell_which_of_todays_s_and_p_500_were_in_it_then(tmp_path: Path) -> None:
    content = (market_data() / "sp500_constituents.csv").read_bytes()
    store = ConstituentStore(tmp_path)
    day = dt.date(2026, 8, 6)
    refresh(store, SP500, content, "sp500_constituents.csv", undated=day, today=day)
    membership = store.membership(SP500)
    lines = content.decode().splitlines()[1:]
    for year in (1990, 2000, 2015, 2026):
        entered = [d for line in lines for d in line.split(",") if len(d) == 10 and d[4] == d[7] == "-"]
        assert len(membership.on(dt.date(year, 1, 1))) == sum(d <= f"{year}-01-01" for d in entered)
    assert {"BRK.B", "BF.B"} <= membership.on(dt.date(2026, 8, 6))
