"""The bus: one order for everybody on the path, and queues that cannot stall it unless they say so."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from engine.bus import Bus, Overflow, Subscription
from engine.errors import EngineError


class Tick:
    def __init__(self, n: int, key: str = "") -> None:
        self.n, self.key = n, key


class Other(Tick):
    pass


def numbers(subscription: Subscription[Tick]) -> list[int]:
    taken = []
    while (event := subscription.take()) is not None:
        taken.append(event.n)
    return taken


async def test_inline_subscribers_run_in_order_of_registration_and_are_awaited() -> None:
    bus, seen = Bus(), []

    async def slow(event: Tick) -> None:
        await asyncio.sleep(0)
        seen.append(("slow", event.n))

    bus.subscribe(Tick, slow)
    bus.subscribe(Tick, lambda event: seen.append(("fast", event.n)))
    bus.subscribe(Other, lambda event: seen.append(("other", event.n)))
    await bus.publish(Tick(1))
    await bus.publish(Other(2))
    assert seen == [("slow", 1), ("fast", 1), ("other", 2)]


async def test_an_exception_in_a_subscriber_stops_the_publisher_and_those_behind_it() -> None:
    bus, seen = Bus(), []

    def broken(event: Tick) -> None:
        raise ValueError("broken subscriber")

    queue = bus.queue(Tick, name="q", size=1, policy=Overflow.DROP_OLDEST)
    bus.subscribe(Tick, broken)
    bus.subscribe(Tick, seen.append)
    with pytest.raises(ValueError, match="broken subscriber"):
        await bus.publish(Tick(1))
    assert (seen, queue.take()) == ([], None)


async def test_a_blocking_queue_holds_the_publisher_until_there_is_room_and_loses_nothing() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=2, policy=Overflow.BLOCK)

    async def publish() -> None:
        for n in range(6):
            await bus.publish(Tick(n))
        bus.close()

    publisher = asyncio.create_task(publish())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not publisher.done()
    assert queue.stats().backlog == 2
    assert [event.n async for event in queue] == list(range(6))
    await publisher
    assert queue.stats().backlog_peak == 2


async def test_two_publishers_behind_one_blocking_queue_lose_nothing() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=1, policy=Overflow.BLOCK)

    async def publish(first: int) -> None:
        for n in range(first, first + 5):
            await bus.publish(Tick(n))

    async with asyncio.TaskGroup() as group:
        group.create_task(publish(0))
        group.create_task(publish(10))
        taken = []
        while len(taken) < 10:
            taken.append((await anext(queue)).n)
    assert sorted(taken) == [*range(5), *range(10, 15)]
    assert [n for n in taken if n < 10] == list(range(5))


async def test_closing_releases_a_publisher_that_waits() -> None:
    bus = Bus()
    bus.queue(Tick, name="q", size=1, policy=Overflow.BLOCK)
    await bus.publish(Tick(0))
    waiting = asyncio.create_task(bus.publish(Tick(1)))
    await asyncio.sleep(0)
    bus.close()
    bus.close()
    await asyncio.wait_for(waiting, 60)


async def test_drop_oldest_keeps_the_newest_and_counts() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=3, policy=Overflow.DROP_OLDEST)
    for n in range(10):
        await bus.publish(Tick(n))
    assert numbers(queue) == [7, 8, 9]
    assert (queue.stats().dropped, queue.stats().delivered) == (7, 3)


async def test_coalesce_replaces_what_waits_under_the_same_key_in_its_place() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=2, policy=Overflow.COALESCE, key=lambda e: e.key)
    for n, key in enumerate("abab"):
        await bus.publish(Tick(n, key))
    assert queue.stats().coalesced == 2
    await bus.publish(Tick(4, "c"))
    assert numbers(queue) == [3, 4]
    assert queue.stats().dropped == 1


async def test_a_cancelled_consumer_loses_no_event() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=10, policy=Overflow.BLOCK)
    taken: list[int] = []
    for n in range(5):
        waiter = asyncio.ensure_future(anext(queue))
        await asyncio.sleep(0)
        await bus.publish(Tick(n))
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            taken.append((await waiter).n)
    bus.close()
    taken += [event.n async for event in queue]
    assert taken == list(range(5))


async def test_one_queue_may_take_several_kinds_in_one_order() -> None:
    bus = Bus()
    queue = bus.queue(Tick, Other, name="q", size=10, policy=Overflow.BLOCK)
    for event in (Tick(0), Other(1), Tick(2)):
        await bus.publish(event)
    assert numbers(queue) == [0, 1, 2]


async def test_a_closed_queue_takes_nothing_in_and_gives_out_what_it_has() -> None:
    bus = Bus()
    queue = bus.queue(Tick, name="q", size=10, policy=Overflow.BLOCK)
    await bus.publish(Tick(0))
    bus.close()
    await bus.publish(Tick(1))
    assert [event.n async for event in queue] == [0]


@pytest.mark.parametrize(
    ("size", "policy", "key", "message"),
    [
        (0, Overflow.BLOCK, None, "size of subscription 'q' must be >= 1, was 0"),
        (1, Overflow.COALESCE, None, "policy coalesce and a key go together"),
        (1, Overflow.BLOCK, id, "policy coalesce and a key go together"),
    ],
)
async def test_a_queue_that_makes_no_sense_is_refused(
    size: int, policy: Overflow, key: object, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        Bus().queue(Tick, name="q", size=size, policy=policy, key=key)  # type: ignore[arg-type]


async def test_putting_into_a_full_blocking_queue_without_waiting_is_an_error() -> None:
    queue: Subscription[Tick] = Subscription("q", size=1, policy=Overflow.BLOCK, key=None)
    queue.put(Tick(0))
    with pytest.raises(EngineError, match="'q' is full"):
        queue.put(Tick(1))
