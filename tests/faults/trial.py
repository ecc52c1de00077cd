"""One short life of a monitor: 60 sessions with trades, alerts and mails, until the feed or a fault ends it.

Time is made so that a run gives the same bytes however often it is killed: the clock that decides stands
still, and the relay's runs a thousand times too fast.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import numpy as np

from config.settings import Email, Monitoring, RiskManagement, Settings, settings_as_dict
from engine.clock import SystemClock
from engine.slab import NS_PER_DAY, Bars, Universe
from feeds.memory import MemoryFeed
from feeds.replay import ReplayFeed
from monitors.core import LiveCore
from monitors.daemon import Daemon, Parts
from monitors.health import Health
from monitors.inputs import OF_BARS, Plan, Start
from monitors.notify import ServiceManager
from monitors.relay import Relay
from monitors.writer import SCHEMA, Writer
from scripts.live_assembly import DECIDING, assemble
from storage.live import open_store

ZIGZAG = Path(__file__).with_name("zigzag.py")
SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
N_ROWS = 60
QUEUE_ROWS = 4
NOW_NS = 1_700_000_000_000_000_000
SPEED = 1000.0


class StillClock(SystemClock):
    """For what decides: every reading is the same, so a repeated input is the same input."""

    def now_ns(self) -> int:
        return NOW_NS

    def monotonic_s(self) -> float:
        return 0.0


class FastClock(SystemClock):
    """For the relay, which waits seconds and minutes."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def now_ns(self) -> int:
        return NOW_NS + round(self.monotonic_s() * 1e9)

    def monotonic_s(self) -> float:
        return (time.monotonic() - self._began_s) * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0) / SPEED)


def market(variant: int = 0) -> Bars:
    """Return 60 sessions in which every name falls by half and comes back. Variants differ from row 1 on."""
    rng = np.random.default_rng(17)
    days = np.arange(N_ROWS)
    ts = (19_000 + days + days // 5 * 2) * NS_PER_DAY + 21 * 3_600 * 10**9
    wave = 1.0 - 0.5 * np.sin(np.pi * days / N_ROWS)[:, None] ** 2
    noise = np.exp(rng.normal(0.0, 0.03, (N_ROWS, len(SYMBOLS))))
    close = np.round(40.0 * wave * noise, 2)
    close[1:] += 0.01 * variant
    open_ = np.vstack([close[:1], close[:-1]])
    high, low = np.maximum(open_, close) * 1.01, np.minimum(open_, close) * 0.99
    volume = np.full(close.shape, 1e6)
    for column in (open_, high, low, close, volume):
        column[20:24, 2] = np.nan  # A name goes stale
    return Bars(ts, open_, high, low, close, volume)


def settings_for(smtp_port: int, recipient: str) -> Settings:
    """Return settings in which alerts come often and go to a local server."""
    return Settings(
        email=Email(
            enabled=True, smtp_server="127.0.0.1", smtp_port=smtp_port, security="none",
            sender="monitor@example.org", recipients=(recipient,), daily_at=None, timeout_seconds=10.0,
        ),
        risk_management=RiskManagement(max_positions=4, max_name=0.5, sector_limits={"other": 0.6}),
        monitoring=Monitoring(drawdown_levels=(0.01, 0.02, 0.04), drawdown_step=0.02, min_interval_days=0),
    )  # fmt: skip


def plan_for(settings: Settings) -> Plan:
    plain = settings_as_dict(settings)
    return Plan(
        symbols=SYMBOLS,
        sectors=("",) * 4,
        industries=("",) * 4,
        exchanges=("",) * 4,
        benchmark="",
        strategies=(("zigzag", {}),),
        modules=(str(ZIGZAG),),
        weights=(1.0,),
        capital_usd=100_000.0,
        settings={name: plain[name] for name in DECIDING},
        time=OF_BARS,
    )


class Wire:
    """What left the process as a stream: a line per batch in a file that no power cut reaches."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.told = lambda _: None

    def publish(self, rows) -> None:
        for row in rows:
            self.told(f"publish {row.journal_seq}")
            body = f"{row.seq} {row.family} {row.family_seq} {row.count} {row.ts_ns} {row.payload.hex()}\n"
            os.write(self._file, body.encode())


def live(store_dir: Path, smtp_port: int, recipient: str, *, variant: int = 0, told=None) -> str:
    """Run a monitor on the store until its feed ends; return why it ended."""
    settings = settings_for(smtp_port, recipient)
    store = open_store(store_dir, SCHEMA)
    writer = Writer(store, LiveCore(assemble), snapshot_inputs=25)
    writer.recover()
    still, fast = StillClock(), FastClock()
    wire = Wire(store_dir.with_name(store_dir.name + ".wire"))
    if told is not None:
        wire.told = told

    async def run() -> str:
        parts = Parts(publisher=wire, wake_relay=asyncio.Event())
        relay = Relay(
            store.transaction, settings.email, portfolio="trial", clock=fast,
            tell=lambda severity, text: None, wake=parts.wake_relay,
        )  # fmt: skip
        parts.off_path["relay"] = relay.run

        def unsent() -> bool:
            from monitors import outbox

            stats = outbox.stats(store.connection)
            return stats.waiting + stats.open > 0

        parts.unsent = unsent
        feed = ReplayFeed(MemoryFeed(Universe(SYMBOLS), market(variant)), still)
        daemon = Daemon(
            writer, feed, plan_for(settings), Start("code", "trial"), still, Health(still, 1e9),
            ServiceManager({}), queue_rows=QUEUE_ROWS, tick_s=1e9, parts=parts,
        )  # fmt: skip
        stopped: list[tuple[float, int]] = []  # When asked to, and how far the journal was

        def stop() -> None:
            stopped.append((time.monotonic(), store.head.seq))
            daemon.stop("SIGTERM")

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        reason = await daemon.run()
        if not stopped:
            return reason
        ((asked_s, newest_seq),) = stopped
        return f"{reason} within {time.monotonic() - asked_s:.1f} s and {store.head.seq - newest_seq} inputs"

    try:
        return asyncio.run(run())
    finally:
        store.close()
