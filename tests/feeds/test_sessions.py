"""Exchange time at the boundary."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.sessions import day_number, iso_day, session_closes, session_days, utc_to_wall, wall_to_utc


def close_of(day: str) -> dt.datetime:
    ns = session_closes(np.array([day_number(day)]))[0]
    return dt.datetime.fromtimestamp(ns / 1e9, ZoneInfo("America/New_York"))


def test_a_session_closes_at_four_in_summer_and_in_winter() -> None:
    assert close_of("2024-01-10").hour == close_of("2024-07-10").hour == 16


def test_a_half_day_closes_at_one() -> None:
    assert close_of("2024-11-29").hour == 13


def test_a_day_without_a_session_counts_as_closing_at_four() -> None:
    assert close_of("2024-03-09").hour == 16  # a Saturday
    assert close_of("2025-01-09").hour == 16  # closed for a day of mourning


def test_closes_increase_with_the_days() -> None:
    days = np.arange(day_number("2019-12-20"), day_number("2020-01-10"))
    assert (np.diff(session_closes(days)) > 0).all()


def test_no_days_have_no_closes() -> None:
    assert len(session_closes(np.empty(0, np.int64))) == 0


@given(st.integers(0, 2_000_000_000))
def test_moments_survive_the_way_to_new_york_and_back(second: int) -> None:
    utc = np.array([second * 1_000_000_000])
    back = wall_to_utc(utc_to_wall(utc))
    assert back == utc or back - utc == 3_600_000_000_000  # the hour that occurs twice is the later one


def test_the_session_day_is_that_of_new_york() -> None:
    midnight_utc = np.array([day_number("2024-03-08") * 86_400_000_000_000])
    assert iso_day(session_days(midnight_utc)[0]) == "2024-03-07"


def test_what_is_no_date_is_refused() -> None:
    with pytest.raises(DataError, match="expected a date such as"):
        day_number("03/08/2024")
