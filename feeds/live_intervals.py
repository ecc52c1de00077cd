"""The bars of a session: intervals of some minutes from the opening on, the last one ending at the close.

15 minutes: 09:30-09:45, ..., 15:45-16:00; 60 minutes: 09:30-10:30, ..., 15:30-16:00
On an early close the last one ends at 13:00.
"""

from __future__ import annotations

import numpy as np

from engine.slab import NS_PER_DAY, Int
from feeds.exchange_calendar import Hours
from feeds.live_hours import Session
from feeds.sessions import session_days, trading_hours

_MINUTE_NS = 60_000_000_000
_SESSION_MINUTES = 390
_AROUND_DAYS = 10  # more than any time without a session


class Intervals:
    """Intervals of `minutes` of XNYS sessions. Like a `TradingDay` with an interval in place of a session."""

    def __init__(self, minutes: int) -> None:
        self.minutes = minutes
        self._step_ns = minutes * _MINUTE_NS

    @property
    def per_session(self) -> int:
        """How many make up a whole session."""
        return -(-_SESSION_MINUTES // self.minutes)

    def last_closed(self, now_ns: int, after_close_ns: int = 0) -> Session:
        """Return the newest interval that has been over for `after_close_ns`."""
        return self._around(now_ns - after_close_ns)[0]

    def current_or_next(self, now_ns: int, after_close_ns: int = 0) -> Session:
        """Return the interval that is on, or the next one; one is on until `after_close_ns` past its end."""
        return self._around(now_ns - after_close_ns)[1]

    def ends(self, begins_ns: Int) -> Int:
        """Return int64[n], the end of the interval that begins at each moment, -1 where none does."""
        if len(begins_ns) == 0:
            return np.empty(0, np.int64)
        days = session_days(begins_ns)
        hours = trading_hours(int(days.min()), int(days.max()))
        if len(hours.days) == 0:
            return np.full(len(begins_ns), -1)
        i = np.clip(np.searchsorted(hours.days, days), 0, len(hours.days) - 1)
        since_open_ns = begins_ns - hours.opens[i]
        begins = (hours.days[i] == days) & (since_open_ns >= 0) & (begins_ns < hours.closes[i])
        begins &= since_open_ns % self._step_ns == 0
        return np.where(begins, np.minimum(begins_ns + self._step_ns, hours.closes[i]), -1)

    def _around(self, then_ns: int) -> tuple[Session, Session]:
        """Return the newest interval that is over at a moment, and the one after it."""
        day = then_ns // NS_PER_DAY
        hours = trading_hours(day - _AROUND_DAYS, day + _AROUND_DAYS)
        i = int(np.searchsorted(hours.closes, then_ns, side="right"))  # the session that is not over yet
        open_ns = int(hours.opens[i])
        n_over = max(0, (then_ns - open_ns) // self._step_ns)
        over = self._of(hours, i, n_over - 1) if n_over else self._of(hours, i - 1, None)
        return over, self._of(hours, i, n_over)

    def _of(self, hours: Hours, i: int, k: int | None) -> Session:
        """Return interval `k` of session `i`, None for its last."""
        open_ns, close_ns = int(hours.opens[i]), int(hours.closes[i])
        if k is None:
            k = (close_ns - open_ns - 1) // self._step_ns
        begin_ns = open_ns + k * self._step_ns
        return Session(int(hours.days[i]), begin_ns, min(begin_ns + self._step_ns, close_ns))
