"""The stream under load: from a row of bars to its signals on ZeroMQ, and one stream to many subscribers.

    python -m benchmarks.stream               a table
    python -m benchmarks.stream --json        one object
    python -m benchmarks.stream --small       a size for tests; its times mean nothing

Latency: 2,000 symbols per row, all four strategies, desk and monitors, through the monitor's writer: journal
and stream log are on the disk (synchronous=FULL) before anything is sent. Rows come at a pace, as they do
live, and once more without pauses, which leaves the caches what they hold. The clock starts with the row in
hand; `published`: its last signal was given to ZeroMQ; `received`: a subscriber in another process has the
signal, each counted. `disk`: as many bytes as a row's commit, written and synced by themselves, is the floor
under every stage. TMPDIR names the disk.

Fan-out: signals at a rate, committed a hundred at a time, to subscribers with the queues of
`monitors.subscriber` that only count. What ZeroMQ drops for one that is too slow is a loss here; a real one
would ask for it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
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

import msgspec
import numpy as np
import zmq

from benchmarks import machine, market
from config import Settings
from engine import events
from engine.clock import SystemClock
from engine.garbage import uncollected
from engine.slab import Bars
from feeds.live import LiveRow
from monitors import stream_log, wire
from monitors.batches import Encoder
from monitors.core import LiveCore
from monitors.inputs import Readings
from monitors.publisher import BarSource, Publisher
from monitors.stream_log import StreamRow
from monitors.subscriber import QUEUE_PACKETS, SOCKET_BYTES
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import MonitorRequest, assemble, make_plan
from storage.found import read_only
from storage.live import IDLE_CHECKPOINT_COMMITS, LiveStore, open_store
from strategies import registry

FULL: dict[str, Any] = {
    "symbols": 2_000, "warm_up": 300, "rows": 400, "pace_s": 0.06,
    "subscribers": 100, "seconds": 5.0, "rates": (10_000, 5_000, 2_000, 1_000, 500),
}  # fmt: skip
SMALL: dict[str, Any] = {
    "symbols": 50, "warm_up": 260, "rows": 20, "pace_s": 0.005,
    "subscribers": 4, "seconds": 0.5, "rates": (500,),
}  # fmt: skip
BYTES_ROWS = 32  # of which the bytes of a commit are counted
BATCH = 100  # signals in a transaction of the fan-out
SINKS = 2  # processes that hold the subscribers
STAGES = ("committed", "published")
PACKETS = wire.PACKET_TOPICS["signal"]


async def latency(symbols: int, warm_up: int, rows: int, pace_s: float) -> dict[str, Any]:
    """Return the percentiles of each stage over the rows that had signals."""
    universe, bars = market.random_walks(symbols, warm_up + rows)
    here, there = multiprocessing.get_context("spawn").Pipe()
    told = []
    with tempfile.TemporaryDirectory() as folder, closing(_store(folder)) as store:
        writer = Writer(store, LiveCore(assemble), snapshot_inputs=1_000_000)
        writer.take(make_plan(MonitorRequest(), Settings(), universe), Readings(0))
        for row in range(warm_up - BYTES_ROWS):
            writer.take(*_input(bars, row))
            store.maintain(idle=False)
        _fold(store)
        for row in range(warm_up - BYTES_ROWS, warm_up):
            writer.take(*_input(bars, row))
        row_bytes = _fold(store) // BYTES_ROWS
        async with _publishing(store, writer.bars_of) as publisher:
            receiver = _start(_receive_signals, there, publisher.address)
            await _answer(here)
            gc.collect()
            gc.freeze()  # As the monitor does when it starts
            for row in range(warm_up, warm_up + rows):
                told.append(_take(*_input(bars, row), writer, publisher))
                store.maintain(idle=True)  # Before it waits, like the monitor
                await asyncio.sleep(pace_s)
            here.send("done")
            received = await _answer(here)
            receiver.join()
            gc.unfreeze()
        disk = await _disk_alone(Path(folder, "floor"), row_bytes, rows, pace_s)
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
        "row_bytes": row_bytes,
        "pace_s": pace_s,
        "ms": {"disk": _percentiles(disk), **ms, "received": _percentiles(arrivals)},
    }


async def _disk_alone(path: Path, n_bytes: int, rows: int, pace_s: float) -> list[float]:
    """Return the seconds that it takes to write and sync so many bytes, over old ones as the log is."""
    data = os.urandom(n_bytes)
    taken = []
    with path.open("wb", buffering=0) as file:
        for i in range(IDLE_CHECKPOINT_COMMITS + rows):
            start = time.monotonic()
            os.pwrite(file.fileno(), data, i % IDLE_CHECKPOINT_COMMITS * n_bytes)
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - start)
            await asyncio.sleep(pace_s)
    return taken[IDLE_CHECKPOINT_COMMITS:]


def _fold(store: LiveStore) -> int:
    """Fold the log into the database; return how many bytes it held."""
    _, pages, _ = store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    (page_bytes,) = store.connection.execute("PRAGMA page_size").fetchone()
    return int(pages * (page_bytes + 24))


def _input(bars: Bars, row: int) -> tuple[LiveRow, Readings]:
    return LiveRow(bars.rows(row, row + 1), "benchmark", False), Readings(int(bars.ts[row]))


def _take(given: LiveRow, readings: Readings, writer: Writer, publisher: Publisher) -> dict[str, Any]:
    """Do what the daemon does with a row; return when each stage was reached, and its signals."""
    reached = {}

    def publish(rows: Sequence[StreamRow]) -> None:
        reached["committed"] = time.monotonic()
        signals = [row for row in rows if row.family == "signal"]
        publisher.publish(signals)
        reached["published"] = time.monotonic()
        publisher.publish([row for row in rows if row.family != "signal"])

    start = time.monotonic()
    with uncollected():
        taken = writer.take(given, readings, publish)
    signals = [row for row in taken.rows if row.family == "signal"]
    return {
        "start": start, **{stage: moment - start for stage, moment in reached.items()},
        "signals": sum(row.count for row in signals),
        "family_seq": signals[-1].last_family_seq if signals else 0,
    }  # fmt: skip


async def fan_out(rate: int, seconds: float, subscribers: int) -> dict[str, Any]:
    """Return how many messages were sent, and how many deliveries were made and lost."""
    universe, _ = market.random_walks(BATCH, 1)
    strategies = [registry.create("trend")]
    encoder = Encoder(universe, strategies, ["trend_following"])
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
                    batches = encoder.batches([events.Signals(rows)], ts_ns=i)
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
    return open_store(Path(folder) / "store", SCHEMA)


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
        for topic in (PACKETS, wire.HEARTBEAT):
            sub.subscribe(topic)
        sub.recv_multipart()
        pipe.send("ready")
        arrived: dict[int, float] = {}
        while not pipe.poll() or sub.poll(500):
            if sub.poll(100):
                topic_frame, frame = sub.recv_multipart()
                now = time.monotonic()
                if topic_frame != wire.HEARTBEAT.encode():
                    packet = wire.decode_packet(frame)
                    arrived |= dict.fromkeys(range(packet.family_seq, packet.last_family_seq + 1), now)
        pipe.send(arrived)


def _count(pipe: Connection, address: str, subscribers: int) -> None:
    """Count what arrives at so many sockets until half a second after the last; in a process of its own."""
    counting = msgspec.msgpack.Decoder(_Counted)
    with zmq.Context() as context:
        poller = zmq.Poller()
        for _ in range(subscribers):
            sub = context.socket(zmq.SUB)
            sub.rcvhwm, sub.rcvbuf = QUEUE_PACKETS, SOCKET_BYTES
            sub.connect(address)
            for topic in (PACKETS, wire.HEARTBEAT):
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
                        topic_frame, frame = sub.recv_multipart(zmq.DONTWAIT)
                        if topic_frame != wire.HEARTBEAT.encode():
                            messages += len(counting.decode(frame).bodies)
        pipe.send(messages)
        for sub, _ in poller.sockets:
            sub.close(0)


class _Counted(msgspec.Struct):
    """A packet as far as its messages can be counted."""

    bodies: list[msgspec.Raw]


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
    paced, at_once = (
        asyncio.run(latency(size["symbols"], size["warm_up"], size["rows"], pace_s))
        for pace_s in (size["pace_s"], 0.0)
    )
    return {
        "latency": paced,
        "latency_without_pauses": at_once,
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
    for told in (report["latency"], report["latency_without_pauses"]):
        print(
            f"{told['symbols']:,} symbols, {told['rows_with_signals']} rows with {told['signals']:,} signals,"
            f" {told['row_bytes']:,} bytes each, {told['pace_s'] * 1e3:g} ms apart; ms"
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
