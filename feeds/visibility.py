"""From when a fact may be used.

1. `available_at` with a time: at that moment. Without an offset it is New York time.
2. `available_at` as a date: when that day is over in New York, so from the next session.
3. Only `period_end`: after the `Lag`, when that day is over.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from engine.facts import PERIOD_UNKNOWN
from engine.slab import NS_PER_DAY
from feeds.sessions import BAD_TIME, wall_to_utc

_YEARLY = ("annual", "roe")
_YEARS = (1700, 2200)  # int64 ns reach a little further
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Lag(NamedTuple):
    """Days from the end of a period until its figures are taken to be public: the filing deadlines of
    non-accelerated filers. `year` is for items that begin with `annual`, and roe."""

    quarter: int = 45
    year: int = 90


DEADLINES = Lag()


def visible_from(available_at: str, period_end_ns: int, item: str, lag: Lag = DEADLINES) -> int | None:
    """Return the moment (UTC ns) from which a fact may be used, None where nothing tells."""
    if available_at:
        found = moment(available_at)
        if found is None:
            return None
        wall_ns, zoned, timed = found
        if zoned:
            return wall_ns
        return _to_utc(wall_ns if timed else wall_ns + NS_PER_DAY)
    if period_end_ns == PERIOD_UNKNOWN:
        return None
    days = lag.year if item.startswith(_YEARLY) else lag.quarter
    return _to_utc(period_end_ns + (days + 1) * NS_PER_DAY)


def utc_text(ns: int) -> str:
    """Return the ISO text of a moment in UTC ns, rounded up to a microsecond: never earlier than it was."""
    return (_EPOCH + dt.timedelta(microseconds=-(-ns // 1_000))).isoformat()


@lru_cache(maxsize=16_384)  # companies share the ends of their periods
def moment(text: str) -> tuple[int, bool, bool] | None:
    """Return ns, whether these are UTC (else New York wall clock), and whether there is a time of day."""
    text = text.strip()
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if not _YEARS[0] <= when.year <= _YEARS[1]:  # 0001-01-01 and 9999-12-31 stand for no date
        return None
    zoned = when.tzinfo is not None
    naive = when.astimezone(dt.UTC).replace(tzinfo=None) if zoned else when
    delta = naive - dt.datetime(1970, 1, 1)  # noqa: DTZ001 - both sides naive
    ns = (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000
    timed = len(text) > 10 and (zoned or ns % NS_PER_DAY != 0)
    return ns, zoned, timed


@lru_cache(maxsize=16_384)  # 0.3 ms each
def _to_utc(wall_ns: int) -> int:
    utc = int(wall_to_utc(np.array([wall_ns]))[0])
    return utc if utc != BAD_TIME else wall_ns
