"""Exchange time at the boundary: New York dates and wall-clock times to int64 UTC nanoseconds, and back.

A daily bar is known at the close of its session. Closes come from the XNYS calendar, half days and special
closures included; a date that is no session there (another market, an error of the vendor) counts as closing
at 16:00 New York.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import NS_PER_DAY
from feeds.exchange_calendar import Hours, sessions_of_years

Int = NDArray[np.int64]

NEW_YORK = "America/New_York"
BAD_TIME = np.iinfo(np.int64).min  # pandas' NaT: conversions carry it through
_CLOSE_NS = 16 * 3_600_000_000_000
_EPOCH = dt.date(1970, 1, 1)


def day_number(value: str | dt.date) -> int:
    """Return days since 1970-01-01 of an ISO date. Raises DataError on anything else."""
    if isinstance(value, dt.datetime):
        value = value.date()
    if not isinstance(value, dt.date):
        try:
            value = dt.date.fromisoformat(value)
        except ValueError:
            raise DataError(f"expected a date such as 2024-03-08, was {value!r}") from None
    return (value - _EPOCH).days


def iso_day(day: int) -> str:
    """Return the ISO date of a day number."""
    return (_EPOCH + dt.timedelta(days=int(day))).isoformat()


def utc_text(ts_ns: int) -> str:
    """Return a moment to the second, such as 2024-03-11T13:31:00 UTC."""
    return f"{np.datetime64(int(ts_ns), 'ns').astype('datetime64[s]')} UTC"


def wall_to_utc(wall_ns: Int) -> Int:
    """Return UTC ns of New York wall-clock ns. An hour that occurs twice is the later one, an hour that the
    clocks skip is the moment after it."""
    index = _datetime_index(wall_ns)
    later = np.zeros(len(index), np.bool_)
    return _ns(index.tz_localize(NEW_YORK, ambiguous=later, nonexistent="shift_forward"))


def utc_to_wall(utc_ns: Int) -> Int:
    """Return New York wall-clock ns of UTC ns."""
    return _ns(_datetime_index(utc_ns).tz_localize("UTC").tz_convert(NEW_YORK).tz_localize(None))


def session_days(utc_ns: Int) -> Int:
    """Return the day number in New York of each moment."""
    return utc_to_wall(utc_ns) // NS_PER_DAY


def session_closes(days: Int) -> Int:
    """Return UTC ns of the close of each session, given as sorted day numbers."""
    days = np.asarray(days, np.int64)
    closes = wall_to_utc(days * NS_PER_DAY + _CLOSE_NS)
    if len(days) == 0:
        return closes
    calendar_days, _, calendar_closes = _calendar(int(days[0]), int(days[-1]))
    if len(calendar_days) == 0:
        return closes
    at = np.minimum(np.searchsorted(calendar_days, days), len(calendar_days) - 1)
    known = calendar_days[at] == days
    return np.where(known, calendar_closes[at], closes)


def previous_session(day: int) -> int:
    """Return the day number of the XNYS session before a day."""
    days = _calendar(day - 366, day).days
    return int(days[np.searchsorted(days, day) - 1])


def trading_hours(first: int, last: int) -> Hours:
    """Return the XNYS sessions from one day number to another, both included."""
    hours = _calendar(first, last)
    inside = (hours.days >= first) & (hours.days <= last)
    return Hours(*(column[inside] for column in hours))


def closes_of_years(first: int, last: int) -> Int:
    """Return UTC ns of the close of every session of the years, both included."""
    days, _, closes = _calendar(day_number(f"{first}-01-01"), day_number(f"{last}-12-31"))
    return closes[(days >= day_number(f"{first}-01-01")) & (days <= day_number(f"{last}-12-31"))]


def _calendar(first: int, last: int) -> Hours:
    """Return the XNYS sessions around two days, in blocks of five years: one serves most of a process."""
    first_year = int(iso_day(max(first, -30_000))[:4])
    return sessions_of_years(first_year // 5 * 5, int(iso_day(last)[:4]) // 5 * 5 + 4)


def _datetime_index(ns: Int) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(np.asarray(ns, np.int64).view("datetime64[ns]"))


def _ns(values: Any) -> Int:
    return np.array(values.as_unit("ns").asi8, np.int64)
