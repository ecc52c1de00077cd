"""Runs a live feed in virtual time against real servers: the clock moves on when the feed sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np

from engine.clock import ManualClock
from feeds.live import FeedEvent, FeedStatus, LiveFeed, LiveRow

DEADLINE_S = 600.0  # of real time


def utc_ns(moment: str) -> int:
    return int(np.datetime64(moment, "ns").astype(np.int64))


class Driver:
    """A feed that runs, and what it has given so far."""

    def __init__(self, feed: LiveFeed, clock: ManualClock) -> None:
        self.feed = feed
        self.clock = clock
        self.events: list[FeedEvent] = []
        self.when_s: list[float] = []  # monotonic time of each event
        self.failed: BaseException | None = None

    @property
    def rows(self) -> list[LiveRow]:
        return [event for event in self.events if isinstance(event, LiveRow)]

    @property
    def statuses(self) -> list[FeedStatus]:
        return [event for event in self.events if isinstance(event, FeedStatus)]

    def kinds(self) -> list[str]:
        return [event.kind if isinstance(event, FeedStatus) else "row" for event in self.events]

    async def until(
        self, condition: Callable[[], object], *, step_s: float = 60.0, pace_s: float = 0.0
    ) -> None:
        """Move time on, at most `step_s` at once and only while the feed sleeps, until a condition holds.

        pace_s: real time that each step takes at least, for sockets to keep up.
        """
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < DEADLINE_S, f"still {self.events[-5:]}"
            if self.failed is not None:
                raise self.failed
            deadline_s = self.clock.next_deadline_s()
            if deadline_s is None:
                await asyncio.sleep(0.002)  # It waits for a thread or a socket
                continue
            await self.clock.advance(min(step_s, max(0.0, deadline_s - self.clock.monotonic_s())), turns=5)
            if pace_s:
                await asyncio.sleep(pace_s)

    async def advance(self, seconds: float) -> None:
        """Move time on by `seconds`, slowly enough for sockets."""
        until_s = self.clock.monotonic_s() + seconds
        while (left_s := until_s - self.clock.monotonic_s()) > 1e-6:
            await self.clock.advance(min(left_s, 25.0), turns=5)
            await asyncio.sleep(0.004)
        if self.failed is not None:
            raise self.failed

    async def run(self, after_ts_ns: int) -> None:
        try:
            async for event in self.feed.events(after_ts_ns):
                self.events.append(event)
                self.when_s.append(self.clock.monotonic_s())
        except Exception as error:
            self.failed = error


@asynccontextmanager
async def driving(feed: LiveFeed, clock: ManualClock, after_ts_ns: int = 0) -> AsyncIterator[Driver]:
    driver = Driver(feed, clock)
    task = asyncio.create_task(driver.run(after_ts_ns))
    try:
        yield driver
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
