"""A server on loopback that speaks Yahoo's stream, well or badly."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from yfinance.pricing_pb2 import PricingData

Behaviour = Callable[[ServerConnection, int], Awaitable[None]]  # connection, its number from 1


def frame(symbol: str, price: float, ts_ns: int, day_volume: int, market_hours: int = 1) -> str:
    """A trade as Yahoo sends it."""
    message = PricingData(
        id=symbol, price=price, time=ts_ns // 1_000_000, day_volume=day_volume, market_hours=market_hours
    )
    text = base64.b64encode(message.SerializeToString()).decode()
    return json.dumps({"type": "pricing", "message": text})


class Stream:
    """What clients did, and the way to send them something."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.subscribed: list[set[str]] = []  # by connection
        self.behave: Behaviour | None = None  # after the subscription; None: send what `send` is given
        self._open: list[ServerConnection] = []

    @property
    def n_connections(self) -> int:
        return len(self.subscribed)

    @property
    def connected(self) -> bool:
        return bool(self._open)

    async def send(self, *frames: str | bytes) -> None:
        """Send to whoever is connected."""
        for connection in self._open:
            for one in frames:
                await connection.send(one)
        await asyncio.sleep(0.01)

    async def cut(self, code: int) -> None:
        """Close what is open."""
        for connection in list(self._open):
            await connection.close(code)

    async def serve(self, connection: ServerConnection) -> None:
        symbols: set[str] = set()
        self.subscribed.append(symbols)
        n = len(self.subscribed)
        try:
            symbols.update(json.loads(await connection.recv())["subscribe"])
            if self.behave is not None:
                await self.behave(connection, n)
                return
            self._open.append(connection)
            async for more in connection:
                symbols.update(json.loads(more)["subscribe"])
        except ConnectionClosed:
            pass
        finally:
            if connection in self._open:
                self._open.remove(connection)


@asynccontextmanager
async def stream_server() -> AsyncIterator[Stream]:
    stream: Any = None

    async def handler(connection: ServerConnection) -> None:
        await stream.serve(connection)

    async with serve(handler, "127.0.0.1", 0, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        stream = Stream(f"ws://127.0.0.1:{port}")
        yield stream
        server.close(close_connections=True)
