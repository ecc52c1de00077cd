"""A store, made-up events and a publisher around them, for the tests of the stream."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from engine.clock import SystemClock
from engine.slab import Bars
from monitors import stream_log, wire
from monitors.curve import ServerKeys
from monitors.publisher import Publisher
from monitors.stream_log import Identity, StreamRow

TS = 1_700_000_000_000_000_000


class Store:
    """The stream log in a database file, and the bars that a journal would hold."""

    def __init__(self, path: Path, n_symbols: int = 3) -> None:
        self.path = path
        self.ts_ns = TS
        self.epoch = 0
        self.symbols = tuple(f"S{i:04d}" for i in range(n_symbols))
        self.connection = connect(path)
        for statement in stream_log.SCHEMA:
            self.connection.execute(statement)

    @property
    def last_seq(self) -> int:
        return stream_log.position(self.connection).seq

    def bars(self, journal_seq: int) -> tuple[Sequence[str], Bars]:
        """Return the row of a journal entry: the close is its number."""
        return self.symbols, row_of_bars(len(self.symbols), journal_seq)

    def commit(self, *families: str, n: int = 1) -> list[StreamRow]:
        """Commit one event that says `n` things in each family (bars: one per symbol)."""
        self.connection.execute("BEGIN IMMEDIATE")
        journal_seq = stream_log.position(self.connection).journal_seq + 1
        rows = stream_log.append(
            self.connection, journal_seq, [self.batch(family, n, journal_seq) for family in families]
        )
        self.connection.execute("COMMIT")
        return rows

    def batch(self, family: str, n: int, journal_seq: int) -> wire.Batch:
        if family == "bar":
            return wire.Batch("bar", len(self.symbols), self.ts_ns + journal_seq, b"")
        bodies = [body_of(family, self.symbols[i % len(self.symbols)], journal_seq) for i in range(n)]
        return wire.Batch(family, n, self.ts_ns + journal_seq, wire.encode(bodies))

    def messages(self, families: Sequence[str] | None = None) -> list[tuple[int, int, wire.AnyBody]]:
        """Return (seq, family_seq, body) of every message of the log, read without the publisher."""
        told = []
        for row in stream_log.read(self.connection, families, 0, 1 << 30):
            bodies = (
                list(wire.bar_bodies(*self.bars(row.journal_seq)))
                if row.family == "bar"
                else wire.unpack(row.payload)
            )
            told += [(row.seq + i, row.family_seq + i, body) for i, body in enumerate(bodies)]
        return told


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    return connection


def row_of_bars(n_symbols: int, close: float) -> Bars:
    prices = np.full((1, n_symbols), float(close))
    return Bars(np.array([TS]), prices, prices, prices, prices, np.full((1, n_symbols), 100.0))


def body_of(family: str, symbol: str, number: int) -> wire.AnyBody:
    """Return a body of a family that says `number`."""
    if family == "signal":
        return wire.Signal(
            symbol=symbol, strategy="trend", side="buy", confidence=0.5, price_ref=float(number),
            structure_stop=None, stop_distance=None, order_type="market", tif="day", limit=None, trigger=None,
            trail=None, open_max=None, pivot=None, target=None, details={"measured": 1.5},
        )  # fmt: skip
    if family == "fill":
        return wire.Fill(
            symbol=symbol, strategy="trend", account="trend", order_id=number, side="buy", quantity=10,
            price=12.5, value_micro=125_000_000, fee_micro=125_000, reason="signal",
        )  # fmt: skip
    if family == "equity":
        account = wire.Account(name="trend", cash_micro=number, gross_micro=0, equity_micro=number)
        return wire.Equity(accounts=[account], positions=[])
    assert family == "alert", family
    return wire.Alert(
        rule="drawdown", subject="portfolio", portfolio="p", key=f"{number}.fired", label="fired",
        severity="warning", value=0.12, threshold=0.1, unit="share", detail="12 %", session="2026-11-20",
        since_ns=TS,
    )  # fmt: skip


@asynccontextmanager
async def publishing(
    store: Store,
    keys: ServerKeys | None = None,
    address: str = "tcp://127.0.0.1:0",
    replay_port: int = 0,
) -> AsyncIterator[Publisher]:
    """Run a publisher of the store's next epoch on free ports."""
    import asyncio

    store.epoch += 1
    identity = Identity("stream-of-tests", store.epoch)
    reading = connect(store.path)
    try:
        async with Publisher(
            address, replay_port, reading, identity, store.bars, SystemClock(), keys
        ) as publisher:
            running = asyncio.create_task(publisher.run())
            try:
                yield publisher
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
    finally:
        reading.close()
