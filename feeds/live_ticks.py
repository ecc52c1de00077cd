"""Ticks become bars on the exchange's calendar. Pure and synchronous: time is handed in.

1. A tick may arrive up to `window_s` after its time. Until then it waits; then it is taken in order of time.
   So neither order of arrival nor repetition within the window changes anything: bars are bit-equal.
2. A tick that comes later is told as `late`. A bar that was closed is never edited.
3. A bar is made only of an interval that was listened to from its beginning to its end. Of any other there is
   no row here; it has to be had elsewhere.
4. A symbol without a tick has no bar, never a carried price. A volume is the growth of the day's volume.
5. A price that jumps by half or more counts only when the next tick of the symbol confirms it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feeds.live import FeedStatus, StatusKind
from feeds.live_hours import Session, TradingDay

AUCTION_NS = 60_000_000_000  # after the close, in which the closing auction is printed
FUTURE_NS = 60_000_000_000  # clocks differ
JUMP = 1.5
AGREES = 1.1


class Tick(NamedTuple):
    """A trade. Ordered by time; of one time by symbol, then volume, as the day went on.

    day_volume: shares traded so far this session.
    """

    ts_ns: int
    column: int
    day_volume: float
    price: float


class TickRow(NamedTuple):
    """Bars of one interval: float64[N] each, NaN where there was no tick."""

    ts_ns: int
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]


class TickBars:
    """Bars of `minutes` minutes, or of whole sessions (None). Symbols are columns, named in `names`.

    reference: the last close of a column before its first tick, NaN for none.
    suspect: called with column, first price of a session and its time; returns word of a suspected split.
    """

    def __init__(
        self, names: Sequence[str], trading: TradingDay, now_ns: int, *, minutes: int | None = None,
        window_s: float = 5.0, reference: Callable[[int], float] = lambda column: math.nan,
        suspect: Callable[[int, float, int], FeedStatus | None] = lambda column, price, ts_ns: None,
    ) -> None:  # fmt: skip
        self._names = tuple(names)
        self._trading = trading
        self._step_ns = None if minutes is None else minutes * 60_000_000_000
        self._window_ns = round(window_s * 1e9)
        self._reference, self._suspect = reference, suspect
        self._waiting: list[Tick] = []
        self._newest: dict[int, Tick] = {}  # taken, by column
        self._horizon_ns = now_ns - self._window_ns  # everything up to it has been taken
        self._whole_since_ns: int | None = None
        self._told: set[tuple[StatusKind, int]] = set()  # in this interval
        self._start_session(trading.current_or_next(self._horizon_ns, AUCTION_NS))
        while self._ticks_end_ns <= self._horizon_ns:
            self._start_interval(self._end_ns)

    def listening(self, now_ns: int) -> None:
        """Note that from now on no tick is missed."""
        self._whole_since_ns = now_ns

    def interrupted(self) -> None:
        """Note that ticks may have been missed."""
        self._whole_since_ns = None

    def push(self, tick: Tick, now_ns: int) -> list[FeedStatus]:
        """Take a tick that has arrived; return word of it where it is refused."""
        name = self._names[tick.column]
        if not (0.0 < tick.price < math.inf and 0.0 <= tick.day_volume < math.inf):
            detail = f"a tick of price {tick.price:g}, volume {tick.day_volume:g}"
            return self._tell("quarantined", tick.column, detail)
        if tick.ts_ns > now_ns + FUTURE_NS:
            ahead_s = (tick.ts_ns - now_ns) / 1e9
            return self._tell("quarantined", tick.column, f"a tick of {name} is {ahead_s:,.0f} s ahead")
        if tick == self._newest.get(tick.column):
            return []  # Sources repeat the last trade with every new quote
        if tick.ts_ns <= self._horizon_ns:
            behind_s = (now_ns - tick.ts_ns) / 1e9
            return self._tell("late", tick.column, f"a tick came {behind_s:,.1f} s after its time")
        heapq.heappush(self._waiting, tick)
        return []

    def advance(self, now_ns: int) -> list[TickRow | FeedStatus]:
        """Return what is complete at `now_ns`, in order."""
        self._horizon_ns = max(self._horizon_ns, now_ns - self._window_ns)
        found: list[TickRow | FeedStatus] = []
        last = None
        while self._waiting and self._waiting[0].ts_ns <= self._horizon_ns:
            tick = heapq.heappop(self._waiting)
            if tick != last:
                self._newest[tick.column] = tick
                self._close_until(tick.ts_ns, found)
                if self._begin_ns <= tick.ts_ns:  # Else it is of before the opening
                    self._take(tick, found)
            last = tick
        self._close_until(self._horizon_ns, found)
        return found

    def _close_until(self, ts_ns: int, found: list[TickRow | FeedStatus]) -> None:
        while self._ticks_end_ns <= ts_ns:
            for column in sorted(self._unconfirmed):
                found += self._refuse_unconfirmed(column)
            whole = self._whole_since_ns is not None and self._whole_since_ns <= self._begin_ns
            if whole and not np.isnan(self._close).all():
                volume = np.maximum(self._volume - self._base, 0.0)
                volume[np.isnan(self._close)] = np.nan
                row = self._open, self._high, self._low, self._close, volume
                found.append(TickRow(self._end_ns, *row))
            if self._end_ns == self._session.close_ns:
                self._start_session(self._trading.current_or_next(self._session.close_ns, 0))
            else:
                self._start_interval(self._end_ns)

    def _take(self, tick: Tick, found: list[TickRow | FeedStatus]) -> None:
        column, price = tick.column, tick.price
        before = self._price[column]
        if math.isnan(before):
            before = self._reference(column)
            if self._volume[column] == 0.0 and column not in self._unconfirmed:
                status = self._suspect(column, price, tick.ts_ns)
                found += [status] if status else []
        if max(price / before, before / price) >= JUMP:  # False without a reference
            witness = self._unconfirmed.get(column) or self._witness.get(column)
            if witness is None or not _agree(witness.price, price):
                found += self._refuse_unconfirmed(column)
                self._unconfirmed[column] = tick
                return
        confirmed = self._unconfirmed.pop(column, None)
        if confirmed is not None and _agree(confirmed.price, price):
            self._add(confirmed)
        elif confirmed is not None:
            found += self._tell("quarantined", column, _jump_words(confirmed.price, price))
        self._witness.pop(column, None)
        self._add(tick)

    def _add(self, tick: Tick) -> None:
        column, price = tick.column, tick.price
        if math.isnan(self._close[column]):
            self._open[column] = self._high[column] = self._low[column] = price
        self._high[column] = max(self._high[column], price)
        self._low[column] = min(self._low[column], price)
        self._close[column] = self._price[column] = price
        if math.isnan(self._base[column]):
            since_ns, daily = self._whole_since_ns, self._step_ns is None
            from_opening = daily or (since_ns is not None and since_ns <= self._session.open_ns)
            self._base[column] = 0.0 if from_opening else tick.day_volume
        self._volume[column] = max(self._volume[column], tick.day_volume)

    def _refuse_unconfirmed(self, column: int) -> list[FeedStatus]:
        tick = self._unconfirmed.pop(column, None)
        if tick is None:
            return []
        self._witness[column] = tick  # The next tick may still confirm the price, for itself
        before = self._price[column]
        before = self._reference(column) if math.isnan(before) else before
        return self._tell("quarantined", column, _jump_words(tick.price, float(before)))

    def _tell(self, kind: StatusKind, column: int, detail: str) -> list[FeedStatus]:
        """Return word, once per symbol and interval: a broken source has thousands of such ticks."""
        if (kind, column) in self._told:
            return []
        self._told.add((kind, column))
        return [FeedStatus(kind, self._names[column], detail)]

    def _start_session(self, session: Session) -> None:
        n = len(self._names)
        self._session = session
        self._price = np.full(n, np.nan)  # newest of the session
        self._volume = np.zeros(n)
        self._unconfirmed: dict[int, Tick] = {}
        self._witness: dict[int, Tick] = {}
        self._base = np.full(n, np.nan)  # the day's volume before this interval
        self._start_interval(session.open_ns)

    def _start_interval(self, begin_ns: int) -> None:
        close_ns = self._session.close_ns
        self._begin_ns = begin_ns
        self._end_ns = close_ns if self._step_ns is None else min(begin_ns + self._step_ns, close_ns)
        self._ticks_end_ns = close_ns + AUCTION_NS if self._end_ns == close_ns else self._end_ns
        n = len(self._names)
        self._open, self._high, self._low, self._close = (np.full(n, np.nan) for _ in range(4))
        if begin_ns != self._session.open_ns:
            self._base = np.where(self._volume > 0.0, self._volume, self._base)
        self._told.clear()


def _agree(a: float, b: float) -> bool:
    return max(a / b, b / a) <= AGREES


def _jump_words(price: float, other: float) -> str:
    return f"a tick of price {price:g} beside {other:g} that no other confirms"
