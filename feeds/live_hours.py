"""Where a live feed is in the exchange's day: which session is over, which comes next, whether it is on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.slab import NS_PER_DAY
from feeds.exchange_calendar import Hours
from feeds.sessions import trading_hours

_DAYS_AROUND = 400
_MARGIN_DAYS = 30  # of calendar left when it is built anew


class Session(NamedTuple):
    """One session: day number, UTC ns of opening and close."""

    day: int
    open_ns: int
    close_ns: int


class TradingDay:
    """The XNYS calendar around a moment that moves. Built, in 0.3 s, with the object and then once a year."""

    def __init__(self, now_ns: int) -> None:
        self._build(now_ns)

    def last_closed(self, now_ns: int, after_close_ns: int = 0) -> Session:
        """Return the newest session that has been over for `after_close_ns`."""
        hours = self._hours_at(now_ns)
        return _session(hours, int(np.searchsorted(hours.closes, now_ns - after_close_ns, side="right")) - 1)

    def current_or_next(self, now_ns: int, after_close_ns: int = 0) -> Session:
        """Return the session that is on, or the next one; one counts as on until `after_close_ns` past it."""
        hours = self._hours_at(now_ns)
        return _session(hours, int(np.searchsorted(hours.closes, now_ns - after_close_ns, side="right")))

    def is_open(self, now_ns: int) -> bool:
        """Return whether the exchange is open."""
        return self.current_or_next(now_ns).open_ns <= now_ns

    def _hours_at(self, now_ns: int) -> Hours:
        if not self._from_ns < now_ns < self._until_ns:
            self._build(now_ns)
        return self._hours

    def _build(self, now_ns: int) -> None:
        day = now_ns // NS_PER_DAY
        self._hours = trading_hours(day - _DAYS_AROUND, day + _DAYS_AROUND)
        self._from_ns = now_ns - (_DAYS_AROUND - _MARGIN_DAYS) * NS_PER_DAY
        self._until_ns = now_ns + (_DAYS_AROUND - _MARGIN_DAYS) * NS_PER_DAY


def _session(hours: Hours, i: int) -> Session:
    return Session(int(hours.days[i]), int(hours.opens[i]), int(hours.closes[i]))
