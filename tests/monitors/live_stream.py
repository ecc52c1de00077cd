"""A store, made-up events and a publisher around them, for the tests of the stream."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from engine.clock import SystemClock
from engine.slab import Bars
from monitors import bodies, stream_log, wire
from monitors.batches import BarEncoder, Batch
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
        batches = [batch for family in families for batch in self.batches(family, n, journal_seq)]
        rows = stream_log.append(self.connection, journal_seq, batches)
        self.connection.execute("COMMIT")
        return rows

    def batches(self, family: str, n: int, journal_seq: int) -> list[Batch]:
        ts_ns = self.ts_ns + journal_seq
        if family == "bar":
            return [Batch("bar", len(self.symbols), ts_ns, b"")]
        said = [body_of(family, self.symbols[i % len(self.symbols)], journal_seq) for i in range(n)]
        return cut(family, said, ts_ns)

    def messages(self, families: Sequence[str] | None = None) -> list[tuple[int, int, bodies.AnyBody]]:
        """Return (seq, family_seq, body) of every message of the log, read without the publisher."""
        told = []
        for row in stream_log.read(self.connection, families, 0, 1 << 30):
            payloads = [row.payload]
            if row.family == "bar":
                symbols, bars = self.bars(row.journal_seq)
                payloads = [batch.bodies for batch in BarEncoder(symbols).batches(bars, row.ts_ns)]
            said = [body for payload in payloads for body in wire.unpack(payload)]
            told += [(row.seq + i, row.family_seq + i, body) for i, body in enumerate(said)]
        return told


def cut(family: str, said: Sequence[bodies.AnyBody], ts_ns: int) -> list[Batch]:
    """Return batches of as many messages as fit into a packet."""
    size = wire.PACKET_MESSAGES
    parts = [said[i : i + size] for i in range(0, len(said), size)]
    return [Batch(family, len(part), ts_ns, wire.encode(part)) for part in parts]


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # Processes are killed here, the power stays on
    return connection


def row_of_bars(n_symbols: int, close: float) -> Bars:
    prices = np.full((1, n_symbols), float(close))
    return Bars(np.array([TS]), prices, prices, prices, prices, np.full((1, n_symbols), 100.0))


def body_of(family: str, symbol: str, number: int) -> bodies.AnyBody:
    """Return a body of a family that says `number`."""
    if family == "signal":
        return bodies.Signal(
            symbol=symbol, strategy="trend", side="buy", confidence=0.5, price_ref=float(number),
            structure_stop=None, stop_distance=None, order_type="market", tif="day", limit=None, trigger=None,
            trail=None, open_max=None, pivot=None, target=None, details={"measured": 1.5},
        )  # fmt: skip
    if family == "fill":
        return bodies.Fill(
            symbol=symbol, strategy="trend", account="trend", order_id=number, side="buy", quantity=10,
            price=12.5, value_micro=125_000_000, fee_micro=125_000, reason="signal",
        )  # fmt: skip
    if family == "equity":
        account = bodies.Account(name="trend", cash_micro=number, gross_micro=0, equity_micro=number)
        return bodies.Equity(accounts=[account], positions=[])
    assert family == "alert", family
    return bodies.Alert(
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
