"""The stream under load: from a row of bars to its signals on ZeroMQ, and one stream to many subscribers.

    python -m benchmarks.stream               a table
    python -m benchmarks.stream --json        one object
    python -m benchmarks.stream --small       a size for tests; its times mean nothing

Latency: 2,000 symbols per row, all four strategies, desk, journal and stream log committed to the disk
(synchronous=FULL, high-water mark) before anything is sent. Rows come at a pace, as they do live. The clock
starts with the row in hand; `published`: its last signal was given to ZeroMQ; `received`: a subscriber in
another process has the signal, each counted. TMPDIR names the disk.

Fan-out: signals at a rate, committed a hundred at a time, to subscribers that only count. What ZeroMQ drops
for one that is too slow is a loss here; `monitors.subscriber` would ask for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks import machine, market
from benchmarks.whole_loop import BATCHES
from brokers.config import DeskConfig
from brokers.desk import Desk
from engine import events
from engine.bus import Bus
from engine.clock import SystemClock
from engine.loop import Loop
from engine.slab import Bars, Universe
from monitors import stream_log, wire
from monitors.publisher import BarSource, Publisher
from storage.live import LiveStore, open_store, read_only
from strategies import registry

FULL: dict[str, Any] = {
    "symbols": 2_000, "warm_up": 300, "rows": 400, "pace_s": 0.06,
    "subscribers": 100, "seconds": 5.0, "rates": (10_000, 5_000, 2_000, 1_000, 500),
}  # fmt: skip
SMALL: dict[str, Any] = {
    "symbols": 50, "warm_up": 260, "rows": 20, "pace_s": 0.005,
    "subscribers": 4, "seconds": 0.5, "rates": (500,),
}  # fmt: skip
BATCH = 100  # signals in a transaction of the fan-out
SINKS = 2  # processes that hold the subscribers
STAGES = ("decided", "committed", "published")


class LivePath:
    """What the monitor does with a row: decide, commit, publish."""

    def __init__(self, universe: Universe, store: LiveStore) -> None:
        self._bus = Bus()
        self._events: list[Any] = []
        for kind in (Bars, *BATCHES, events.Equity):
            self._bus.subscribe(kind, self._events.append)
        strategies = [registry.create(name) for name in registry.BUILT_IN]
        desk = Desk(universe, strategies, DeskConfig())
        self._loop = Loop(universe, strategies, desk, self._bus)
        self._names = wire.Names(universe, strategies, desk.accounts)
        self._universe = universe
        self._store = store
        self._newest: tuple[int, Bars] = (0, market.random_walks(1, 1)[1])

    async def warm_up(self, bars: Bars) -> None:
        await self._loop.process(bars)
        self._events.clear()

    def bars_of(self, journal_seq: int) -> tuple[Sequence[str], Bars] | None:
        newest_seq, bars = self._newest
        return (self._universe.symbols, bars) if journal_seq == newest_seq else None

    async def take(self, bars: Bars, publisher: Publisher) -> dict[str, Any]:
        """Process one row; return after how many seconds each stage was reached, and its signals."""
        start = time.monotonic()
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
        payload = b"".join(column.tobytes() for column in columns)
        with self._store.transaction() as connection:
            await self._loop.process(bars)
            decided = time.monotonic()
            journal_seq = self._store.append("row", int(bars.ts[0]), payload, bytes(32))
            batches = wire.batches(self._names, self._events, ts_ns=int(bars.ts[0]))
            rows = stream_log.append(connection, journal_seq, batches)
        self._newest = journal_seq, bars
        committed = time.monotonic()
        signals = [row for row in rows if row.family == "signal"]
        publisher.publish(signals)
        last = time.monotonic()
        publisher.publish([row for row in rows if row.family != "signal"])
        self._events.clear()
        self._store.maintain()
        return {
            "start": start, "decided": decided - start, "committed": committed - start,
            "published": last - start, "signals": sum(row.count for row in signals),
            "family_seq": signals[0].last_family_seq if signals else 0,
        }  # fmt: skip


async def latency(symbols: int, warm_up: int, rows: int, pace_s: float) -> dict[str, Any]:
    """Return the percentiles of each stage over the rows that had signals."""
    universe, bars = market.random_walks(symbols, warm_up + rows)
    here, there = multiprocessing.get_context("spawn").Pipe()
    told = []
    with tempfile.TemporaryDirectory() as folder, closing(_store(folder)) as store:
        path = LivePath(universe, store)
        await path.warm_up(bars.rows(0, warm_up))
        async with _publishing(store, path.bars_of) as publisher:
            receiver = _start(_receive_signals, there, publisher.address)
            await _answer(here)
            for row in range(warm_up, warm_up + rows):
                told.append(await path.take(bars.rows(row, row + 1), publisher))
                await asyncio.sleep(pace_s)
            here.send("done")
            received = await _answer(here)
            receiver.join()
    with_signals = [entry for entry in told if entry["signals"]]
    arrivals = [
        received[number] - entry["start"]
        for entry in with_signals
        for number in range(entry["family_seq"] - entry["signals"] + 1, entry["family_seq"] + 1)
    ]
    ms = {stage: _percentiles([entry[stage] for entry in with_signals]) for stage in STAGES}
    return {
        "symbols": symbols,
        "rows_with_signals": len(with_signals),
        "signals": len(arrivals),
        "ms": ms | {"received": _percentiles(arrivals)},
    }


async def fan_out(rate: int, seconds: float, subscribers: int) -> dict[str, Any]:
    """Return how many messages were sent, and how many deliveries were made and lost."""
    universe, _ = market.random_walks(BATCH, 1)
    strategies = [registry.create("trend")]
    names = wire.Names(universe, strategies, ["trend_following"])
    rows = np.zeros(BATCH, events.SIGNAL_DTYPE)
    rows["symbol"], rows["side"], rows["price_ref"] = np.arange(BATCH), 1, 12.5
    pipes = [multiprocessing.get_context("spawn").Pipe() for _ in range(SINKS)]
    with tempfile.TemporaryDirectory() as folder, closing(_store(folder)) as store:
        async with _publishing(store, lambda journal_seq: None) as publisher:
            sinks = [_start(_count, there, publisher.address, subscribers // SINKS) for _, there in pipes]
            for here, _ in pipes:
                await _answer(here)
            start = time.monotonic()
            n_batches = int(rate * seconds) // BATCH
            for i in range(n_batches):
                with store.transaction() as connection:
                    batches = wire.batches(names, [events.Signals(rows)], ts_ns=i)
                    committed = stream_log.append(connection, i + 1, batches)
                publisher.publish(committed)
                await asyncio.sleep(max(0.0, start + (i + 1) * BATCH / rate - time.monotonic()))
            sent_s = time.monotonic() - start
            delivered = 0
            for here, _ in pipes:
                here.send("done")
                delivered += await _answer(here)
            for sink in sinks:
                sink.join()
    sent = n_batches * BATCH
    return {
        "asked_per_s": rate,
        "sent_per_s": round(sent / sent_s),
        "subscribers": subscribers,
        "delivered": delivered,
        "lost": sent * subscribers - delivered,
    }


def _store(folder: str) -> LiveStore:
    return open_store(Path(folder) / "store", stream_log.SCHEMA)


@asynccontextmanager
async def _publishing(store: LiveStore, bars_of: BarSource) -> AsyncIterator[Publisher]:
    with store.transaction() as connection:
        identity = stream_log.open_epoch(connection, "benchmark")
    with read_only(store.directory) as reading:
        async with Publisher("tcp://127.0.0.1:0", 0, reading, identity, bars_of, SystemClock()) as publisher:
            running = asyncio.create_task(publisher.run())
            try:
                yield publisher
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    values = np.percentile(np.array(seconds) * 1e3, (50, 90, 99))
    return dict(zip(("p50", "p90", "p99"), values.round(3).tolist(), strict=True))


def _receive_signals(pipe: Connection, address: str) -> None:
    """Note when each signal arrived, by its number; in a process of its own."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.connect(address)
        for topic in ("signal", wire.HEARTBEAT):
            sub.subscribe(topic)
        sub.recv_multipart()
        pipe.send("ready")
        arrived = {}
        while not pipe.poll() or sub.poll(500):
            if sub.poll(100):
                topic_frame, frame = sub.recv_multipart()
                now = time.monotonic()
                if topic_frame != wire.HEARTBEAT.encode():
                    arrived[wire.decode_message(frame).family_seq] = now
        pipe.send(arrived)


def _count(pipe: Connection, address: str, subscribers: int) -> None:
    """Count what arrives at so many sockets until half a second after the last; in a process of its own."""
    with zmq.Context() as context:
        poller = zmq.Poller()
        for _ in range(subscribers):
            sub = context.socket(zmq.SUB)
            sub.rcvhwm = 100_000
            sub.connect(address)
            for topic in ("signal", wire.HEARTBEAT):
                sub.subscribe(topic)
            sub.recv_multipart()
            poller.register(sub, zmq.POLLIN)
        pipe.send("ready")
        messages = 0
        while True:
            ready = poller.poll(500)
            if not ready and pipe.poll():
                break
            for sub, _ in ready:
                with suppress(zmq.Again):
                    while True:
                        messages += sub.recv(zmq.DONTWAIT).startswith(b"signal.")
        pipe.send(messages)
        for sub, _ in poller.sockets:
            sub.close(0)


def _start(target: Any, *arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


async def _answer(pipe: Connection) -> Any:
    while not pipe.poll():
        await asyncio.sleep(0.01)
    return pipe.recv()


def measure(*, small: bool = False) -> dict[str, Any]:
    """Return the latency, the fan-out at each rate until one lost nothing, and the machine."""
    size = SMALL if small else FULL
    fans = []
    for rate in size["rates"]:
        fans.append(asyncio.run(fan_out(rate, size["seconds"], size["subscribers"])))
        if fans[-1]["lost"] == 0:
            break
    return {
        "latency": asyncio.run(latency(size["symbols"], size["warm_up"], size["rows"], size["pace_s"])),
        "fan_out": fans,
        "load_before": os.getloadavg()[0],
        "machine": machine.describe(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark of the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description="The stream under load.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--small", action="store_true", help="a tiny size, to see that it runs")
    options = parser.parse_args(arguments)
    report = measure(small=options.small)
    if options.json:
        print(json.dumps(report))
        return 0
    told = report["latency"]
    print(
        f"{told['symbols']:,} symbols, {told['rows_with_signals']} rows with {told['signals']:,} signals; ms"
    )
    print(f"{'':12}{'p50':>9}{'p90':>9}{'p99':>9}")
    for stage, figures in told["ms"].items():
        print(f"{stage:12}" + "".join(f"{figures[name]:>9.2f}" for name in ("p50", "p90", "p99")))
    for fan in report["fan_out"]:
        print(
            f"{fan['sent_per_s']:,} messages/s to {fan['subscribers']} subscribers:"
            f" {fan['delivered']:,} delivered, {fan['lost']:,} lost"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
