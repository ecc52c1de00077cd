"""Fourteen years of real names through the monitor: what a backtest decides, bit for bit.

`make test` takes two years of a hundred names, SMALLCAP_FAULTS=all (`make nightly`) all there is.
"""

from __future__ import annotations

import asyncio
import os
from datetime import date
from pathlib import Path

import pytest

from config import Settings
from engine.clock import SystemClock
from engine.events import Equity, Fills, Orders, Signals
from engine.loop import Loop
from feeds.replay import ReplayFeed
from feeds.source import open_source
from monitors.core import LiveCore
from monitors.daemon import Daemon, Parts
from monitors.health import Health
from monitors.inputs import Start
from monitors.notify import ServiceManager
from monitors.writer import SCHEMA, Writer
from reports.recorder import Recorder
from scripts.live_assembly import MonitorRequest, assemble, make_plan
from storage.live import open_store

ALL = os.environ.get("SMALLCAP_FAULTS") == "all"
MARKET = os.environ.get("SMALLCAP_MARKET_DATA")

pytestmark = [
    pytest.mark.market,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif(MARKET is None, reason="needs SMALLCAP_MARKET_DATA"),
    pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning"),
]


@pytest.fixture
def history(tmp_path):
    prices = Path(MARKET) / "smallcap_daily.parquet"
    every = open_source(prices, adjustment="split", cache_dir=tmp_path / "panels")
    if ALL:
        return every
    return open_source(
        prices, adjustment="split", symbols=every.universe.symbols[:100],
        start=date(2019, 1, 1), end=date(2020, 12, 31),
        cache_dir=tmp_path / "panels",
    )  # fmt: skip


def test_the_monitor_decides_what_the_backtest_decides(history, tmp_path):
    settings = Settings()
    plan = make_plan(MonitorRequest(), settings, history.universe)
    loop: Loop = assemble(plan).loop
    expected = Recorder.attached_to(loop)
    asyncio.run(loop.run(history, 1024))

    heard: dict[type, list[bytes]] = {Signals: [], Orders: [], Fills: [], Equity: []}

    def hear(taken):
        for event in taken.outcome.events:
            if type(event) is Equity:
                heard[Equity].append(b"".join(x.tobytes() for x in (event.cash, event.gross, event.equity)))
            elif type(event) in heard:
                heard[type(event)].append(event.rows.tobytes())

    store = open_store(tmp_path / "store", SCHEMA)
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=1_000)
    clock = SystemClock()
    daemon = Daemon(
        writer, ReplayFeed(history, clock), plan, Start("code", "market"), clock, Health(clock, 1e9),
        ServiceManager({}), queue_rows=64, tick_s=1e9, parts=Parts(committed=[hear]),
    )  # fmt: skip
    asyncio.run(daemon.run())
    store.close()

    for kind in (Orders, Fills):
        assert b"".join(heard[kind]) == expected.rows(kind).tobytes(), kind.__name__
    n_signals = sum(map(len, heard[Signals])) // expected.rows(Signals).dtype.itemsize
    assert n_signals == len(expected.rows(Signals))
    equity = expected.equity()
    assert len(heard[Equity]) == len(equity.ts)
    rows = zip(equity.cash, equity.gross, equity.equity, strict=True)
    assert heard[Equity] == [b"".join(part.tobytes() for part in row) for row in rows]
    print(f"market: {len(equity.ts)} rows, {len(expected.rows(Fills))} fills, identical")
