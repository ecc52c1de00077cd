"""Another process's stream of bars as a live feed.

1. The bars of a row come one by one. A row is whole when every symbol has come, when a bar of a later row
   comes, or when nothing came for `QUIET_S`: longer than it takes to notice and ask for what was missed.
2. What was published before is asked of the publisher and back-filled. What it no longer keeps is told.
3. A bar of a row that was given is `late` and changes nothing. Rows are checked like those of any live feed.

The stream carries no splits or dividends: a split shows as a suspected one and its bars are held back.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator

import numpy as np

from engine.clock import Clock
from engine.slab import Bars, Float, Universe
from feeds.live import FeedEvent, FeedStatus, LiveRow
from feeds.live_check import RowCheck
from feeds.sessions import utc_text
from monitors.bodies import Bar
from monitors.curve import ClientKeys
from monitors.subscriber import Notice, StreamError, Subscriber
from monitors.wire import Message

SOURCE = "zmq"
QUIET_S = 3.0
RETRY_S, RETRY_S_MAX = 1.0, 60.0  # times 0.5 to 1.5
_FIELDS = ("open", "high", "low", "close", "volume")
_MEANING = {"silent": "stale", "heard": "recovered", "gap": "late", "invalid": "quarantined"}


class BarFeed:
    """Rows of the symbols of `universe` out of the stream at `address`; other symbols are passed over."""

    def __init__(
        self, universe: Universe, address: str, clock: Clock, *, keys: ClientKeys | None = None,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        self.universe = universe
        self._place = {symbol: i for i, symbol in enumerate(universe.symbols)}
        self._address = address
        self._clock = clock
        self._keys = keys
        self._rng = random.Random(seed)
        self._alive_s: float | None = None
        self._notices: deque[Notice] = deque(maxlen=1_000)
        self._row: Float | None = None
        self._subscriber()  # raises now for an address that cannot be

    @property
    def alive_s(self) -> float | None:
        return self._alive_s

    async def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        """Yield rows, and word of the stream's health and of what was refused."""
        self._after_ns = self._given_ns = after_ts_ns
        self._connected, failures = False, 0
        while True:
            self._check = RowCheck(self.universe)
            self._ts_ns, self._row = 0, None  # of the row that is being collected, None once it was given
            try:
                async for event in self._follow():
                    failures = failures if isinstance(event, FeedStatus) else 0
                    yield event
            except StreamError as error:
                yield FeedStatus("down", "", str(error))
            wait_s = min(RETRY_S_MAX, RETRY_S * 2.0**failures) * self._rng.uniform(0.5, 1.5)
            failures = min(failures + 1, 10)
            self._alive_s = self._clock.monotonic_s()
            await self._clock.sleep(wait_s)
            self._after_ns = self._given_ns

    def _subscriber(self) -> Subscriber:
        return Subscriber(
            self._address, ["bar."], since=0, keys=self._keys, lag_max=None, stop_at_gap=False,
            on_notice=self._notices.append, clock=self._clock,
        )  # fmt: skip

    async def _follow(self) -> AsyncIterator[FeedEvent]:
        """Follow the stream from its beginning; rows that are known already only prime the checks."""
        messages = aiter(self._subscriber())
        arriving = asyncio.ensure_future(anext(messages))
        joined, heard_s = False, self._clock.monotonic_s()
        try:
            while True:
                looking = asyncio.ensure_future(self._clock.sleep(1.0))
                await asyncio.wait((arriving, looking), return_when=asyncio.FIRST_COMPLETED)
                looking.cancel()
                now_s = self._alive_s = self._clock.monotonic_s()
                while self._notices:
                    notice = self._notices.popleft()
                    joined |= notice.kind == "joined"
                    if notice.kind in _MEANING:
                        yield FeedStatus(_MEANING[notice.kind], "", notice.text)  # type: ignore[arg-type]
                if arriving.done():
                    message = arriving.result()
                    arriving = asyncio.ensure_future(anext(messages))
                    heard_s = now_s
                    for event in self._take(message):
                        yield event
                elif joined and now_s - heard_s >= QUIET_S:
                    for event in self._give():
                        yield event
                    if not self._connected:
                        self._connected = True
                        yield FeedStatus("connected", "", "everything published so far has been given")
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)
            await messages.aclose()  # type: ignore[attr-defined]

    def _take(self, message: Message) -> list[FeedEvent]:
        bar = message.body
        if not isinstance(bar, Bar) or bar.symbol not in self._place:
            return []
        told: list[FeedEvent] = []
        if message.ts_ns > self._ts_ns:
            told += self._give()
            self._ts_ns = message.ts_ns
            self._row = np.full((5, 1, len(self.universe)), np.nan)
        elif message.ts_ns < self._ts_ns or self._row is None:
            return [FeedStatus("late", bar.symbol, f"a bar of {utc_text(message.ts_ns)}")]
        for field, name in enumerate(_FIELDS):
            self._row[field, 0, self._place[bar.symbol]] = getattr(bar, name)
        if not np.isnan(self._row[3]).any():
            told += self._give()
        return told

    def _give(self) -> list[FeedEvent]:
        """Return the row that has been collected, checked; nothing while there is none."""
        row, self._row = self._row, None
        if row is None:
            return []
        bars, told = self._check.take(Bars(np.array([self._ts_ns]), *row), self._clock.now_ns())
        if bars is None or self._ts_ns <= self._after_ns:
            return list(told) if bars is None else []
        self._given_ns = self._ts_ns
        return [LiveRow(bars, SOURCE, backfilled=not self._connected), *told]
