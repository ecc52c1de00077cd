"""Long runs, by hand or by `make soak`: a simulated year of minutes, a start on a million journal rows.

Sizes: SMALLCAP_SOAK_ROWS (default 98,280: 390 minutes x 252 sessions) of 100 symbols. While they are taken a
subscriber follows the stream and a client reads the metrics over HTTP.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import Counter

import numpy as np
import pytest

from config import Settings
from engine.clock import SystemClock
from engine.slab import Bars, Universe
from feeds.live import FeedStatus, LiveRow
from monitors import inputs, stream_log
from monitors.core import LiveCore
from monitors.daemon import Daemon, Parts
from monitors.health import Health
from monitors.http import HttpServer
from monitors.inputs import Start, Tick
from monitors.notify import ServiceManager
from monitors.publisher import Publisher
from monitors.routes import Routes
from monitors.subscriber import Subscriber
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import MonitorRequest, assemble, make_plan
from storage.found import read_only
from storage.live import open_store
from tests.monitors.live_market import at, plan
from tests.monitors.test_http import no_gauges

N_ROWS = int(os.environ.get("SMALLCAP_SOAK_ROWS", str(390 * 252)))
N_SYMBOLS = 100
MINUTES = 390
SCRAPE_S = 0.25
COMING_AND_GOING = 3  # a connection of the metrics' client, its file and its task

pytestmark = pytest.mark.timeout(7_200)


def resident_mib() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


class Minutes:
    """A year of one-minute rows, made as they are asked for; the feed goes down and comes back every day."""

    universe = Universe(tuple(f"S{s:03d}" for s in range(N_SYMBOLS)))
    alive_s = None

    def __init__(self):
        self.samples = []

    async def events(self, after_ts_ns):
        rng = np.random.default_rng(3)
        close = np.full((1, N_SYMBOLS), 30.0)
        for n in range(N_ROWS):
            day, minute = divmod(n, MINUTES)
            ts = (19_000 + day // 5 * 7 + day % 5) * 86_400 + 14 * 3_600 + 31 * 60 + minute * 60
            before = close
            close = np.round(close * np.exp(rng.normal(0.0, 0.002, close.shape)), 2)
            high, low = np.maximum(before, close) + 0.01, np.minimum(before, close) - 0.01
            volume = np.full(close.shape, 1e5)
            bars = Bars(np.array([ts * 10**9]), before, high, low, close, volume)
            if minute == 100:
                yield FeedStatus("down", "", "cut")
            if minute == 102:
                yield FeedStatus("recovered", "", "")
            yield LiveRow(bars, "soak", False)
            if n % 500 == 0:
                gc.collect()
                self.samples.append(
                    (n, resident_mib(), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()))
                )
        yield FeedStatus("end", "", "")


async def scraped(server, scrapes):
    """Read the metrics again and again, as Prometheus does."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        scrapes.append(int((await reader.read()).split()[1]))
        writer.close()
        await asyncio.sleep(SCRAPE_S)


async def followed(publisher, heard):
    """Follow the stream from its beginning."""
    async for message in Subscriber(publisher.address, since=0, lag_max=None):
        heard[message.family] += 1


async def lived(writer, feed, settings, clock, heard, scrapes):
    """Run the monitor until its feed ends, and what is attached to it."""
    store, health = writer.store, Health(clock, 1e9)
    with store.transaction() as connection:
        identity = stream_log.open_epoch(connection, new_stream="soak")
    server = HttpServer("127.0.0.1:0", Routes(health, no_gauges).answer)
    await server.start()
    with read_only(store.directory) as reading:
        publisher = Publisher("tcp://127.0.0.1:0", 0, reading, identity, writer.bars_of, clock)
        async with publisher:
            parts = Parts(publisher=publisher, off_path={"publisher": publisher.run})
            daemon = Daemon(
                writer, feed, make_plan(MonitorRequest(), settings, feed.universe), Start("code", "soak"),
                clock, health, ServiceManager({}), queue_rows=64, tick_s=60.0, parts=parts,
            )  # fmt: skip
            clients = [
                asyncio.create_task(followed(publisher, heard)),
                asyncio.create_task(scraped(server, scrapes)),
            ]
            await daemon.run()
            for client in clients:
                assert not client.done(), client.exception()
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    await server.stop()
    return health


def test_a_year_of_minutes_leaves_memory_files_and_tasks_flat(tmp_path):
    feed, settings = Minutes(), Settings()
    store = open_store(tmp_path / "store", SCHEMA)
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=1_000)
    heard, scrapes = Counter(), []
    began = time.perf_counter()
    health = asyncio.run(lived(writer, feed, settings, SystemClock(), heard, scrapes))
    seconds = time.perf_counter() - began
    log_bytes = (tmp_path / "store" / "live.db-wal").stat().st_size
    store.close()
    half = feed.samples[len(feed.samples) // 2 :]
    growth = half[-1][1] - half[0][1]
    quarters = np.array_split(np.array(feed.samples), 4)
    slopes = [np.polyfit(quarter[:, 0] / 1_000, quarter[:, 1], 1)[0] for quarter in quarters]
    print(
        f"soak: {N_ROWS} rows of {N_SYMBOLS} symbols in {seconds:.0f} s, {health.counts['alerts']} alerts,"
        f" {sum(heard.values())} messages heard, {len(scrapes)} scrapes;"
        f" second half: {growth:+.1f} MiB of {half[-1][1]:.0f}, log {log_bytes / 2**20:.1f} MiB,"
        f" files {half[0][2]} -> {half[-1][2]}, tasks {half[0][3]} -> {half[-1][3]};"
        f" MiB per 1,000 rows, by quarter: {', '.join(f'{slope:+.3f}' for slope in slopes)}"
    )
    assert set(scrapes) == {200}
    assert heard["bar"] > 0.9 * N_SYMBOLS * N_ROWS
    assert growth <= max(2.0, 0.005 * half[-1][1])
    assert log_bytes <= 64 * 2**20
    assert half[-1][2] <= half[0][2] + COMING_AND_GOING
    assert half[-1][3] <= half[0][3] + COMING_AND_GOING


def test_a_start_on_a_million_rows_is_ready_in_five_seconds(tmp_path):
    writer = Writer(open_store(tmp_path / "store", SCHEMA), LiveCore(assemble), snapshot_inputs=10_000)
    writer.take(plan(), at())
    store = writer.store
    store.connection.execute("PRAGMA synchronous = OFF")
    payload = inputs.encode(Tick(), at())
    digest = writer.core.apply(Tick(), at()).digest
    n_rows = 1_000_000
    while store.head.seq < n_rows:
        with store.transaction():
            for _ in range(10_000):
                writer.core.apply(Tick(), at())
                store.append("tick", at().now_ns, payload, digest)
            store.save_snapshot(writer.core.snapshot())
    for _ in range(9_990):  # As far from a snapshot as a start can be, or nearly
        writer.take(Tick(), at())
    store.close()
    began, began_cpu = time.perf_counter(), time.process_time()
    again = Writer(open_store(tmp_path / "store", SCHEMA), LiveCore(assemble), snapshot_inputs=10_000)
    n_replayed = again.recover()
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    print(
        f"start: {again.store.head.seq} journal rows, {n_replayed} replayed,"
        f" ready in {seconds:.2f} s, {cpu_s:.2f} s of CPU"
    )
    again.store.close()
    assert n_replayed == 9_990
    assert cpu_s <= 5.0  # Of an idle machine; a busy one may take any time
