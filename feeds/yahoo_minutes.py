"""Yahoo's bars of some minutes as a live feed: after each interval it is asked until the row can be given.

1. Only bars that are over are given, those of the exchange's calendar: intervals count from the opening, the
   last one ends at the close, early ones included. What Yahoo says of the interval that is on, of the hours
   around a session, or at moments of its own choosing, is no bar.
2. Yahoo keeps minutes for some days only (`LIMIT_DAYS`). What is older cannot be had; that is said.
3. A symbol without a trade in an interval has no bar. One whose bar comes after its row was given is told as
   `late`; the row stays as it is.

The rest is as for the daily bars of `feeds.yahoo_poll`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clock import Clock
from engine.errors import DataError
from engine.slab import ACTION_DTYPE, ActionKind, Bars, Int, Universe
from feeds.live import FeedEvent, FeedStatus
from feeds.live_hours import Session
from feeds.live_intervals import Intervals
from feeds.memory import MemoryFeed
from feeds.sessions import session_days, utc_text
from feeds.yahoo import fetch_frames
from feeds.yahoo_cache import date_of, today
from feeds.yahoo_poll import Answer, Pace, YahooPoll, YahooSettings

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
LIMIT_DAYS = {"1m": 7, "5m": 60, "15m": 60, "1h": 730}  # calendar days that Yahoo keeps
SETTLE_S = 20.0  # after an interval until Yahoo's bar of it holds its last trades
_PRIMING_DAYS = 5  # calendar days before the first row, for the checks that need a past
_FIELDS = ("Open", "High", "Low", "Close", "Volume")


def first_day(interval: str, now_ns: int) -> dt.date:
    """Return the first day of which Yahoo has all bars of an interval."""
    return date_of(today(now_ns)) - dt.timedelta(days=LIMIT_DAYS[interval] - 1)


class YahooMinutes(YahooPoll):
    """Rows of the intervals from the day `start` on. Raises DataError for one that Yahoo no longer keeps."""

    watched_rows = 60

    def __init__(
        self, universe: Universe, start: dt.date, settings: YahooSettings, clock: Clock, interval: str, *,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(universe, start, settings, clock, seed=seed)
        earliest = first_day(interval, clock.now_ns())
        if start < earliest:
            raise DataError(
                f"Yahoo keeps {interval} bars for {LIMIT_DAYS[interval]} days: --start must be {earliest} or"
                f" later, was {start}; a longer --interval reaches further back"
            )
        self.intervals = self._trading = Intervals(MINUTES[interval])
        self._interval = interval
        step_s = 60.0 * MINUTES[interval]
        self.pace = Pace(SETTLE_S, min(step_s / 2, 300.0), 10.0, min(max(step_s, 60.0), 900.0))
        self._primed = False

    async def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        """Yield rows, and word of Yahoo's health, of what was refused and of what cannot be had any more."""
        self._primed = False
        earliest = first_day(self._interval, self._clock.now_ns())
        if after_ts_ns > 0 and _date(after_ts_ns) < earliest:
            kept = f"Yahoo keeps {self._interval} bars for {LIMIT_DAYS[self._interval]} days"
            yield FeedStatus(
                "late", "", f"{kept}: those from {_date(after_ts_ns)} to {earliest} are left out"
            )
        async for event in super().events(after_ts_ns):
            yield event

    def _first_day(self, after_ts_ns: int) -> dt.date:
        earliest = first_day(self._interval, self._clock.now_ns())
        if after_ts_ns <= 0:
            return max(self._start, earliest)
        before = 0 if self._primed else _PRIMING_DAYS
        return max(earliest, _date(after_ts_ns) - dt.timedelta(days=before))

    def _ask_in_thread(self, first: dt.date, last: dt.date, not_before_ns: int) -> Answer:
        cache_dir, politeness, base_url, timeout_s, _ = self._settings

        def now_s() -> float:
            self._alive_s = self._clock.monotonic_s()
            return self._clock.now_ns() / 1e9

        until_ns = self._clock.now_ns() - round(
            SETTLE_S * 1e9
        )  # An answer may take long: as of its beginning
        refresh, frames = fetch_frames(
            self._asked, first, last, self._interval, cache_dir=cache_dir, politeness=politeness,
            base_url=base_url, timeout_s=timeout_s, clock=now_s, seed=self._rng.randrange(1 << 30),
        )  # fmt: skip
        return Answer(bars_of(frames, self._asked, self.intervals, until_ns), refresh)

    def _lacking(self, answer: Answer, session: Session) -> str:
        if answer.history is None and not self._primed:
            which = f"the {len(self._asked)} symbols, {self._asked[0]} first"
            raise DataError(f"Yahoo has no {self._interval} bars of {which}")
        self._primed = True
        return ""  # Small companies do not trade in every minute

    def _named(self, ts_ns: int) -> str:
        return utc_text(ts_ns)


def bars_of(
    frames: Mapping[str, Any], symbols: Sequence[str], intervals: Intervals, until_ns: int
) -> MemoryFeed | None:
    """Return the bars that were over at `until_ns`, of symbols as columns; None where there is none.

    frames: of `YahooClient.history`, in the shares of today. The bars are raw: as traded, with splits and
    dividends as actions of the first row from their time on.
    """
    parts = {symbol: _Part(frame, intervals, until_ns) for symbol, frame in frames.items()}
    ts = np.unique(np.concatenate([np.empty(0, np.int64), *(part.ends for part in parts.values())]))
    if len(ts) == 0:
        return None
    actions = []
    fields = {name: np.full((len(ts), len(symbols)), np.nan) for name in _FIELDS}
    for column, symbol in enumerate(symbols):
        if symbol not in parts:
            continue
        part = parts[symbol]
        rows = np.searchsorted(ts, part.ends)
        old_shares = np.ones(len(ts))  # of one share of today, before each row
        for kind, name in ((ActionKind.SPLIT, "Stock Splits"), (ActionKind.DIVIDEND, "Dividends")):
            for begin_ns, value in part.events(name):
                row = int(np.searchsorted(ts, begin_ns, side="right"))
                if row == len(ts):
                    continue  # Its first bar is to come
                if kind == ActionKind.SPLIT:
                    old_shares[:row] *= value
                else:
                    value *= old_shares[row]
                actions.append((row, column, int(kind), value))
        for name, values in fields.items():
            in_today = part.values[name]
            in_old = in_today / old_shares[rows] if name == "Volume" else in_today * old_shares[rows]
            values[rows, column] = in_old
    open_, high, low, close, volume = fields.values()
    stated = np.array(sorted(actions), ACTION_DTYPE)
    return MemoryFeed(Universe(tuple(symbols)), Bars(ts, open_, high, low, close, volume, stated))


class _Part:
    """The bars of one symbol that are over, and what Yahoo states of it."""

    def __init__(self, frame: Any, intervals: Intervals, until_ns: int) -> None:
        begins = np.array(frame.index.tz_convert("UTC").tz_localize(None).as_unit("ns").asi8, np.int64)
        ends = intervals.ends(begins)
        self._begins, self._frame = begins, frame
        values = {name: np.array(frame[name], np.float64) for name in _FIELDS}
        silent = np.all([np.isnan(values[name]) for name in _FIELDS if name != "Volume"], axis=0)
        known = np.flatnonzero((ends >= 0) & (ends <= until_ns) & ~silent)
        kept = known[np.unique(ends[known], return_index=True)[1]]  # In order, of each interval the first
        self.ends: Int = ends[kept]
        self.values: dict[str, NDArray[np.float64]] = {name: value[kept] for name, value in values.items()}

    def events(self, name: str) -> list[tuple[int, float]]:
        """Return time and value of what is stated in a column."""
        if name not in self._frame.columns:
            return []
        value = np.nan_to_num(np.array(self._frame[name], np.float64), posinf=0.0)
        stated = np.flatnonzero(value > 0.0)
        return list(zip(self._begins[stated].tolist(), value[stated].tolist(), strict=True))


def _date(ts_ns: int) -> dt.date:
    return date_of(int(session_days(np.array([ts_ns]))[0]))
