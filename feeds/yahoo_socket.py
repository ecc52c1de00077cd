"""Yahoo's stream of trades: one WebSocket, supervised.

yfinance's own client spins without yielding after a clean close and never reconnects after any other; only
its message definition is used here.

1. A connection that ends, for whatever reason, is followed by another after a growing, jittered wait; every
   connection subscribes to everything anew.
2. While the exchange is open, valid trades within `expected_s` are the only proof of life: silence, a dead
   peer and garbage are alike `stale`, and the connection is given up. Outside those hours nothing is told.
3. Whoever reads is handed everything in order through a bounded queue; when that is full the socket waits.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine.clock import Clock
from feeds.live import FeedStatus
from feeds.live_hours import TradingDay
from feeds.live_ticks import Tick

URL = "wss://streamer.finance.yahoo.com/?version=2"  # as in yfinance 1.7
FRAME_BYTES_MAX = 1 << 16
QUEUE_ITEMS = 10_000
CONNECT_S = 10.0
RETRY_S, RETRY_S_MAX = 1.0, 60.0  # times 0.5 to 1.5
SUBSCRIBED_AT_ONCE = 200
_LOOK_S = 30.0  # how often at least time is looked at
_REGULAR = 1  # PricingData.market_hours: the session itself


class InvalidFrame(Exception):
    """A frame that is no trade of this subscription; the message says why."""


class Heard(NamedTuple):
    """One thing that happened at `now_ns`: a trade, a status, a change of the connection, or only time."""

    now_ns: int
    tick: Tick | None = None
    status: FeedStatus | None = None
    listening: bool | None = None


class YahooSocket:
    """Listens to `symbols`. `expected_s`: within that some trade is expected, in session hours."""

    def __init__(
        self, symbols: Sequence[str], clock: Clock, trading: TradingDay, *, url: str = URL,
        expected_s: float, seed: int | None = None,
    ) -> None:  # fmt: skip
        self._columns = {symbol: i for i, symbol in enumerate(symbols)}
        self._clock = clock
        self._trading = trading
        self._url = url
        self._expected_s = expected_s
        self._rng = random.Random(seed)
        self._queue: asyncio.Queue[Heard] = asyncio.Queue(QUEUE_ITEMS)
        self._healthy = True
        self._last_tick_s = clock.monotonic_s()
        self.alive_s = clock.monotonic_s()
        self.n_invalid = 0

    async def heard(self) -> Heard:
        """Return the next thing that happened."""
        return await self._queue.get()

    async def run(self) -> None:
        """Listen for ever."""
        failures = 0
        while True:
            heard_before_s = self._last_tick_s
            trouble = await self._one_connection()
            await self._put(listening=False)
            await self._unhealthy("down", trouble)
            failures = 0 if self._last_tick_s > heard_before_s else failures + 1
            wait_s = min(RETRY_S_MAX, RETRY_S * 2.0 ** min(failures, 10)) * self._rng.uniform(0.5, 1.5)
            until_s = self._clock.monotonic_s() + wait_s
            while (left_s := until_s - self._clock.monotonic_s()) > 1e-9:
                await self._clock.sleep(min(left_s, _LOOK_S))
                await self._look()

    async def _one_connection(self) -> str:
        """Connect, subscribe and listen; return why it ended."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await connect(self._url, max_size=FRAME_BYTES_MAX, close_timeout=1.0, max_queue=64)
        except (OSError, TimeoutError, ValueError, WebSocketException) as error:  # ValueError: a bad redirect
            return f"no connection to Yahoo's stream ({type(error).__name__})"
        try:
            names = sorted(self._columns)
            for i in range(0, len(names), SUBSCRIBED_AT_ONCE):
                await socket.send(json.dumps({"subscribe": names[i : i + SUBSCRIBED_AT_ONCE]}))
            await self._put(listening=True)
            return await self._listen(socket)
        except (OSError, WebSocketException) as error:
            return f"Yahoo's stream ended ({error})"
        finally:
            socket.transport.abort()  # A peer that is dead answers no closing handshake

    async def _listen(self, socket: Any) -> str:
        began_s = self._clock.monotonic_s()
        receiving = asyncio.ensure_future(socket.recv())
        looking = asyncio.ensure_future(self._clock.sleep(self._look_s))
        try:
            while True:
                await asyncio.wait((receiving, looking), return_when=asyncio.FIRST_COMPLETED)
                if receiving.done():
                    frame = receiving.result()
                    receiving = asyncio.ensure_future(socket.recv())
                    await self._take(frame)
                if looking.done():
                    looking = asyncio.ensure_future(self._clock.sleep(self._look_s))
                    await self._look()
                    if self._silent_s(since_s=began_s) > self._expected_s:
                        return f"no trade for {self._expected_s:.0f} s"
        finally:
            for task in (receiving, looking):
                task.cancel()
            await asyncio.gather(receiving, looking, return_exceptions=True)

    async def _take(self, frame: str | bytes) -> None:
        try:
            tick = decode(frame, self._columns)
        except InvalidFrame as error:
            self.n_invalid += 1
            if self.n_invalid == 1:
                await self._put(status=FeedStatus("quarantined", "", f"a frame of Yahoo's stream: {error}"))
            return
        self._last_tick_s = self.alive_s = self._clock.monotonic_s()
        if not self._healthy:
            self._healthy = True
            await self._put(status=FeedStatus("recovered", "", "trades come again"))
        if tick is not None:
            await self._put(tick=tick)

    async def _look(self) -> None:
        """Let whoever reads know the time, and whether nothing has been heard for too long."""
        self.alive_s = self._clock.monotonic_s()
        await self._put()
        if self._silent_s() > self._expected_s:
            await self._unhealthy("stale", f"no trade for {self._expected_s:.0f} s in session hours")

    @property
    def _look_s(self) -> float:
        return min(_LOOK_S, self._expected_s / 4)

    def _silent_s(self, since_s: float = 0.0) -> float:
        """Return for how long trades have been missing: 0 while the exchange is closed."""
        now_ns = self._clock.now_ns()
        if not self._trading.is_open(now_ns):
            return 0.0
        open_s = (now_ns - self._trading.current_or_next(now_ns).open_ns) / 1e9
        return min(open_s, self._clock.monotonic_s() - max(self._last_tick_s, since_s))

    async def _unhealthy(self, kind: Any, detail: str) -> None:
        """Tell of trouble once, until it is over, and in session hours alone."""
        if self._healthy and self._trading.is_open(self._clock.now_ns()):
            self._healthy = False
            await self._put(status=FeedStatus(kind, "", detail))

    async def _put(self, **what: Any) -> None:
        await self._queue.put(Heard(self._clock.now_ns(), **what))


def decode(frame: str | bytes, columns: Mapping[str, int]) -> Tick | None:
    """Return the trade in a frame; None for a valid one that is of before or after the session.

    A frame is JSON with a Protobuf message in base64. Raises InvalidFrame.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from yfinance.pricing_pb2 import PricingData

    message = PricingData()
    try:
        envelope = json.loads(frame)
        message.ParseFromString(base64.b64decode(envelope["message"], validate=True))
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error, DecodeError) as error:
        raise InvalidFrame(f"not readable ({type(error).__name__})") from None
    column = columns.get(message.id)
    if column is None:
        raise InvalidFrame("about no symbol that was subscribed to")
    if message.market_hours != _REGULAR:
        return None
    price = float(f"{message.price:.7g}")  # It is sent in single precision: 12.34, not 12.34000015
    return Tick(message.time * 1_000_000, column, float(message.day_volume), price)


@contextlib.asynccontextmanager
async def listening(socket: YahooSocket) -> Any:
    """Let a socket run while the block runs."""
    task = asyncio.create_task(socket.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
