"""Long runs, by hand or by `make soak`: a simulated year of minutes, a start on a million journal rows.

Sizes: SMALLCAP_SOAK_ROWS (default 98,280: 390 minutes x 252 sessions) of 100 symbols.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time

import numpy as np
import pytest

from config import Settings
from engine.clock import SystemClock
from engine.slab import Bars, Universe
from feeds.live import FeedStatus, LiveRow
from monitors import inputs
from monitors.core import LiveCore
from monitors.daemon import Daemon
from monitors.health import Health
from monitors.inputs import Start, Tick
from monitors.notify import ServiceManager
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import MonitorRequest, assemble, make_plan
from storage.live import open_store
from tests.monitors.live_market import at, plan

N_ROWS = int(os.environ.get("SMALLCAP_SOAK_ROWS", str(390 * 252)))
N_SYMBOLS = 100
MINUTES = 390

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


def test_a_year_of_minutes_leaves_memory_files_and_tasks_flat(tmp_path):
    feed, clock = Minutes(), SystemClock()
    settings = Settings()
    store = open_store(tmp_path / "store", SCHEMA)
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=1_000)
    health = Health(clock, 1e9)
    daemon = Daemon(
        writer, feed, make_plan(MonitorRequest(), settings, feed.universe), Start("code", "soak"),
        clock, health,
        ServiceManager({}), queue_rows=64, tick_s=60.0,
    )  # fmt: skip
    began = time.perf_counter()
    asyncio.run(daemon.run())
    seconds = time.perf_counter() - began
    log_bytes = (tmp_path / "store" / "live.db-wal").stat().st_size
    store.close()
    half = feed.samples[len(feed.samples) // 2 :]
    growth = half[-1][1] - half[0][1]
    print(
        f"soak: {N_ROWS} rows of {N_SYMBOLS} symbols in {seconds:.0f} s, {health.counts['alerts']} alerts;"
        f" second half: {growth:+.1f} MiB of {half[-1][1]:.0f}, log {log_bytes / 2**20:.1f} MiB,"
        f" files {half[0][2]} -> {half[-1][2]}, tasks {half[0][3]} -> {half[-1][3]}"
    )
    assert growth <= max(2.0, 0.005 * half[-1][1])
    assert log_bytes <= 64 * 2**20
    assert half[-1][2] <= half[0][2]
    assert half[-1][3] <= half[0][3]


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
    for _ in range(9_999):
        writer.take(Tick(), at())
    store.close()
    began = time.perf_counter()
    again = Writer(open_store(tmp_path / "store", SCHEMA), LiveCore(assemble), snapshot_inputs=10_000)
    n_replayed = again.recover()
    seconds = time.perf_counter() - began
    print(f"start: {again.store.head.seq} journal rows, {n_replayed} replayed, ready in {seconds:.2f} s")
    again.store.close()
    assert seconds <= 5.0
