"""Silence is noticed (B-9): monitor, mail server, feed and disk are stopped one at a time, and somebody who
sees only the sign of life and the mailbox notices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from config.settings import Email, Monitor, Monitoring, Settings, Stream
from engine.clock import SystemClock
from feeds.live import FeedStatus
from monitors import heartbeat
from monitors.heartbeat import check
from scripts.monitor import Process
from storage.live import StoreFailed
from tests.monitors.live_market import plan, rows, writer_on
from tests.monitors.post import text_of
from tests.monitors.smtp_server import smtp_server
from tests.monitors.test_daemon import Feed

INTERVAL_S = 0.5
LOOKS = 3_000
NEW_YORK = ZoneInfo("America/New_York")


class Shifted(SystemClock):
    """The time of day can be chosen."""

    shift_ns = 0

    def now_ns(self):
        return super().now_ns() + self.shift_ns

    def at(self, hour_minute):
        """Set it to a time of today in New York."""
        hour, minute = map(int, hour_minute.split(":"))
        wanted = datetime.now(NEW_YORK).replace(hour=hour, minute=minute)
        self.shift_ns = round((wanted - datetime.now(UTC)).total_seconds() * 1e9)


class Watched:
    """A monitor in a task, a mail server, and what an observer has."""

    def __init__(self, store, server):
        self.store, self.server, self.feed, self.clock = store, server, Feed(), Shifted()
        self.clock.at("12:00")
        self.settings = Settings(
            email=Email(
                enabled=True, smtp_server="127.0.0.1", smtp_port=server.port, security="none",
                sender="desk@fund.test", recipients=("pm@fund.test",), timeout_seconds=2.0,
            ),
            monitor=Monitor(http_address=None, heartbeat_seconds=INTERVAL_S, tick_seconds=0.2),
            stream=Stream(address=None),
        )  # fmt: skip

    async def __aenter__(self):
        self.writer = writer_on(self.store)
        process = Process(self.settings, self.writer, self.clock, time.perf_counter())
        watching = plan(settings=Settings(monitoring=Monitoring(loop_lag_ms=None)))  # The machine may be busy
        self.task = asyncio.create_task(process.run(self.feed, watching, "test", reload=None, once=False))
        self.feed.coming.put_nowait(rows(0, 1)[0])
        await self.until(lambda: self.seen() == ())
        return self

    async def __aexit__(self, *_):
        await self.stop()
        self.writer.store.close()

    async def stop(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self.task

    async def until(self, condition):
        for _ in range(LOOKS):  # Counted: a disk that stalls the monitor stalls this too
            if found := condition():
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(self.seen())

    def seen(self):
        return check(self.store / heartbeat.FILE, self.clock.now_ns())

    def subjects(self):
        return [one.mail["Subject"] for one in self.server.accepted]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


async def test_a_monitor_that_is_well_is_seen_to_be_and_says_so_by_mail_once_a_day(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        watched.clock.at("17:29")
        assert watched.subjects() == []
        watched.clock.at("17:31")
        await watched.until(watched.subjects)
        assert "Daily:" in watched.subjects()[0]
        await watched.until(lambda: watched.seen() == ())
        assert len(watched.subjects()) == 1


async def test_a_monitor_that_ends_is_missed(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        await watched.stop()
        await watched.until(lambda: any("no sign of life" in one for one in watched.seen()))
        watched.clock.at("17:31")
        assert watched.subjects() == []


async def test_a_mail_server_that_stops_is_told_though_there_is_nothing_to_send(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        server.plan = {"banner": "421 closed"}
        await watched.until(lambda: any("no mail could be sent: 421 closed" in o for o in watched.seen()))
        server.plan = {}
        await watched.until(lambda: watched.seen() == ())
        assert not any(command.startswith("MAIL") for command in server.commands)


async def test_a_mail_server_that_stops_when_there_is_something_to_send_is_told(home):
    async with smtp_server({"mail": "421 closed"}) as server, Watched(home, server) as watched:
        watched.clock.at("17:31")
        await watched.until(lambda: any("421 closed" in one for one in watched.seen()))
        alerts = "SELECT count(*) FROM outbox WHERE rule = 'delivery' AND subject = 'mail server'"
        await watched.until(lambda: watched.writer.store.connection.execute(alerts).fetchone() == (1,))


@pytest.mark.parametrize("kind", ["stale", "down"])
async def test_a_feed_that_stops_is_told(home, kind):
    async with smtp_server() as server, Watched(home, server) as watched:
        watched.feed.coming.put_nowait(FeedStatus(kind, "", "nothing for a minute"))
        await watched.until(lambda: f"feed {kind}: nothing for a minute" in watched.seen())
        await watched.until(watched.subjects)
        assert "Data feed" in text_of(server.accepted[0])


async def test_a_feed_that_hangs_without_a_word_is_told(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        watched.feed.alive_s = watched.clock.monotonic_s() - 1_000.0
        await watched.until(lambda: any("feed: no sign of life" in one for one in watched.seen()))


async def test_a_disk_that_takes_nothing_more_ends_the_monitor_and_that_is_seen(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        watched.writer.store.connection.execute("PRAGMA max_page_count = 1")
        for row in rows(1, 40):
            watched.feed.coming.put_nowait(row)
        await watched.until(watched.task.done)
        assert isinstance(watched.task.exception(), StoreFailed)
        await watched.until(lambda: any("no sign of life" in one for one in watched.seen()))


async def test_a_disk_that_is_gone_is_seen(home):
    async with smtp_server() as server, Watched(home, server) as watched:
        home.rename(home.with_name("gone"))
        assert "the monitor has never run here, or cannot write" in watched.seen()[0]
        home.with_name("gone").rename(home)
