"""Virtual time moves when it is told to, and real time by itself."""

import asyncio

import pytest

from engine.clock import ManualClock, SystemClock


async def test_sleepers_wake_in_order_of_their_deadlines_and_see_their_moment():
    clock = ManualClock()
    seen = []

    async def nap(name, seconds):
        await clock.sleep(seconds)
        seen.append((name, clock.monotonic_s()))

    async with asyncio.TaskGroup() as group:
        for name, seconds in (("late", 3.0), ("early", 1.0), ("as early", 1.0), ("never", 50.0)):
            task = group.create_task(nap(name, seconds))
        await clock.advance(10.0)
        task.cancel()
    assert seen == [("early", 1.0), ("as early", 1.0), ("late", 3.0)]


async def test_one_advance_wakes_a_periodic_timer_every_time():
    clock = ManualClock()
    ticks = []

    async def timer():
        while True:
            await clock.sleep(60.0)
            ticks.append(clock.monotonic_s())

    task = asyncio.create_task(timer())
    await clock.advance(300.0)
    task.cancel()
    assert ticks == [60.0, 120.0, 180.0, 240.0, 300.0]


@pytest.mark.parametrize("hours", [-1, 1, 24])
async def test_a_jump_of_the_wall_clock_moves_no_timer(hours):
    clock = ManualClock(now_ns=10**18)
    task = asyncio.create_task(clock.sleep(5.0))
    await asyncio.sleep(0)
    clock.jump(3600.0 * hours)
    assert clock.now_ns() == 10**18 + hours * 3600 * 10**9
    await clock.advance(4.0)
    assert not task.done()
    await clock.advance(1.0)
    await task


async def test_a_cancelled_sleeper_is_forgotten():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(5.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert clock.next_deadline_s() is None
    await clock.advance(10.0)
    assert clock.monotonic_s() == 10.0


async def test_the_system_clock_moves():
    clock = SystemClock()
    wall, monotonic = clock.now_ns(), clock.monotonic_s()
    await clock.sleep(0.001)
    await clock.sleep(-1.0)
    assert clock.monotonic_s() > monotonic
    assert clock.now_ns() >= wall
