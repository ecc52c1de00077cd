"""Time, handed in: what runs over a day in production runs over the same day in a test within milliseconds.

Two readings that must not be mixed: the wall clock (`now_ns`, UTC) dates things and may jump; the monotonic
clock (`monotonic_s`) measures intervals and never does. Timers use the monotonic one alone.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Where a component takes time from."""

    def now_ns(self) -> int:
        """Return the wall clock: UTC nanoseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since some fixed moment; never jumps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of monotonic time; at once, but after a turn of the loop, for 0 or less."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0.0))


class ManualClock:
    """Virtual time: stands still until `advance` moves it, and wakes sleepers in order of their deadlines."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = 0
        self._order = itertools.count()  # Sleepers with one deadline wake in the order in which they came
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_s(self) -> float:
        return self._monotonic_ns / 1e9

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = self._monotonic_ns + round(seconds * 1e9)
        heapq.heappush(self._sleepers, (deadline, next(self._order), woken))
        await woken

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server does. No sleeper notices."""
        self._now_ns += round(seconds * 1e9)

    def next_deadline_s(self) -> float | None:
        """Return when the next sleeper wakes (monotonic), None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] / 1e9 if self._sleepers else None

    async def advance(self, seconds: float, turns: int = 20) -> None:
        """Move time forward, deadline by deadline, giving whoever wakes `turns` turns of the loop.

        A sleeper that goes to sleep again within the interval is woken again within it.
        """
        end_ns = self._monotonic_ns + round(seconds * 1e9)
        await _turns(turns)
        while self.next_deadline_s() is not None and self._sleepers[0][0] <= end_ns:
            deadline, _, woken = heapq.heappop(self._sleepers)
            self._move(deadline)
            woken.set_result(None)
            await _turns(turns)
        self._move(end_ns)

    def _move(self, monotonic_ns: int) -> None:
        if monotonic_ns > self._monotonic_ns:
            self._now_ns += monotonic_ns - self._monotonic_ns
            self._monotonic_ns = monotonic_ns


async def _turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)
