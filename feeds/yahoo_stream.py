"""Yahoo's stream of trades as a live feed of daily bars, with polling where the stream has a gap.

1. A session that was heard from its opening to its close is given from its trades, a minute after the close;
   splits and dividends are asked for over HTTP. Any other session is polled, once Yahoo's bar of it is final,
   and marked as back-filled.
2. Rows come in order, each once, checked like polled ones. A price that looks like a split that nobody stated
   is told with the first trade of the session.
3. Ticks are judged by when they arrived. Polling does not stop listening.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from engine.clock import Clock
from engine.slab import Bars, Universe
from feeds.live import FeedEvent, FeedStatus, LiveRow
from feeds.live_hours import Session, TradingDay
from feeds.live_ticks import TickBars, TickRow
from feeds.yahoo_poll import SETTLE_S, YahooPoll
from feeds.yahoo_socket import URL, Heard, YahooSocket, listening

SOURCE = "yahoo_stream"
WINDOW_S = 5.0  # a trade may come that much after its time
EXPECTED_S_MIN, EXPECTED_S_MAX = 30.0, 900.0
_TRADE_EVERY_S = 3_000.0  # a quiet small cap: of n symbols, one trades every n-th part of it


class YahooStream:
    """Rows of `poll`'s universe. url: a server to listen to instead of Yahoo."""

    def __init__(
        self, poll: YahooPoll, clock: Clock, *, url: str | None = None, expected_s: float | None = None,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        self._poll = poll
        self._clock = clock
        self._trading = TradingDay(clock.now_ns())
        universe = poll.universe
        self._names = [*universe.symbols, *filter(None, [universe.benchmark])]
        usual_s = min(EXPECTED_S_MAX, max(EXPECTED_S_MIN, _TRADE_EVERY_S / len(self._names)))
        self._socket = YahooSocket(
            self._names, clock, self._trading, url=url or URL, expected_s=expected_s or usual_s, seed=seed
        )

    @property
    def universe(self) -> Universe:
        return self._poll.universe

    @property
    def alive_s(self) -> float | None:
        polled_s = self._poll.alive_s
        return self._socket.alive_s if polled_s is None else max(polled_s, self._socket.alive_s)

    async def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        """Yield rows, and word of the stream's health and of what was refused."""
        now_ns = self._clock.now_ns()
        self._given_ns, self._done_ns = after_ts_ns, 0
        self._bars = TickBars(
            self._names, self._trading, now_ns, window_s=WINDOW_S,
            reference=self._last_close, suspect=self._suspect,
        )  # fmt: skip
        async with listening(self._socket) as running:
            async for event in self._fill(self._trading.last_closed(now_ns, _ns(SETTLE_S))):
                yield event
            yield FeedStatus("connected", "", "every session that is over has been given")
            while True:
                if running.done():
                    running.result()
                async for event in self._take(await self._socket.heard()):
                    yield event

    async def _take(self, heard: Heard) -> AsyncIterator[FeedEvent]:
        for found in self._bars.advance(heard.now_ns):
            if isinstance(found, FeedStatus):
                yield found
            elif found.ts_ns > self._done_ns:
                async for event in self._row(found):
                    yield event
        if heard.status is not None:
            yield heard.status
        if heard.listening is not None:
            self._bars.listening(heard.now_ns) if heard.listening else self._bars.interrupted()
        if heard.tick is not None:
            for status in self._bars.push(heard.tick, heard.now_ns):
                yield status
        due = self._trading.last_closed(heard.now_ns, _ns(SETTLE_S))
        if due.close_ns > self._done_ns:
            async for event in self._fill(due):
                yield event

    async def _fill(self, session: Session) -> AsyncIterator[FeedEvent]:
        """Yield the rows up to a session from polling."""
        prime = self._done_ns == 0
        async for found in self._poll.ask_patiently(self._given_ns, session):
            if isinstance(found, FeedStatus):
                yield found
                continue
            async for event in self._poll.rows(found, self._given_ns, session.close_ns, prime=prime):
                if isinstance(event, LiveRow):
                    self._given_ns = int(event.bars.ts[0])
                yield event
        self._done_ns = session.close_ns

    async def _row(self, ticks: TickRow) -> AsyncIterator[FeedEvent]:
        """Yield the row of a session that was heard whole."""
        session = self._trading.last_closed(ticks.ts_ns)
        actions, trouble = await self._poll.actions(session, self._given_ns)
        n = len(self.universe)
        open_, high, low, close, volume = (
            column[None, :n].copy()
            for column in (ticks.open, ticks.high, ticks.low, ticks.close, ticks.volume)
        )
        benchmark = np.full((1, 2), np.nan)
        if self.universe.benchmark:
            benchmark[0] = ticks.close[n], ticks.volume[n]
        bars = Bars(np.array([ticks.ts_ns]), open_, high, low, close, volume, actions, benchmark)
        row, told = self._poll.check.take(bars, self._clock.now_ns())
        self._done_ns = session.close_ns
        if row is not None:
            self._given_ns = ticks.ts_ns
            yield LiveRow(row, SOURCE, backfilled=False)
        for status in told:
            yield status
        if trouble:
            detail = f"splits and dividends of the day come with the next row: {trouble}"
            yield FeedStatus("late", "", detail)

    def _last_close(self, column: int) -> float:
        return self._poll.check.close(column) if column < len(self.universe) else np.nan

    def _suspect(self, column: int, price: float, ts_ns: int) -> FeedStatus | None:
        return self._poll.check.suspect(column, price, ts_ns) if column < len(self.universe) else None


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
