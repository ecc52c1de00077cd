"""The bus: inline subscribers are the trading path, queues hang off it and can never stall it.

`await bus.publish(event)` runs the inline subscribers of the event's type in the order in which they were
registered and returns when they are done: back-pressure and a total order by construction. An exception in
one stops the publisher with its cause. Slow or remote consumers take a `Subscription`: a bounded queue with
a stated answer to "full".
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from engine.errors import EngineError

EventT = TypeVar("EventT")
Handler = Callable[[Any], Awaitable[None] | None]


class Overflow(Enum):
    """What happens to an event when the queue of a subscription is full."""

    BLOCK = "block"  # the publisher waits: for consumers that may lose nothing
    DROP_OLDEST = "drop_oldest"  # the oldest waiting event is discarded and counted
    COALESCE = "coalesce"  # an event replaces the waiting one with the same key; otherwise drop_oldest


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    backlog: int  # events waiting now
    backlog_peak: int  # most events ever waiting
    delivered: int  # events taken
    dropped: int  # events discarded because the queue was full
    coalesced: int  # events replaced by a newer one with the same key


class Subscription(Generic[EventT]):
    """A bounded queue between the bus and one consumer; iterate it with `async for`.

    Everything that decides anything is synchronous. A waiting consumer that is cancelled loses no event:
    an event leaves the queue only when `take` returns it.
    """

    def __init__(
        self, name: str, *, size: int, policy: Overflow, key: Callable[[EventT], Hashable] | None
    ) -> None:
        if size < 1:
            raise EngineError(f"size of subscription {name!r} must be >= 1, was {size}")
        if (policy is Overflow.COALESCE) != (key is not None):
            raise EngineError(f"subscription {name!r}: policy coalesce and a key go together")
        self.name = name
        self._size = size
        self._policy = policy
        self._key = key
        self._events: deque[EventT] = deque()
        self._peak = self._delivered = self._dropped = self._coalesced = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._freed = asyncio.Event()

    @property
    def full(self) -> bool:
        return len(self._events) >= self._size

    @property
    def blocks(self) -> bool:
        """Whether a publisher has to wait before it may `put`."""
        return self._policy is Overflow.BLOCK and self.full and not self._closed

    def put(self, event: EventT) -> None:
        """Queue an event. Never waits: a blocking subscription must not be full (see `room`)."""
        if self._closed:
            return
        if self._key is not None:
            key = self._key(event)
            for i, waiting in enumerate(self._events):
                if self._key(waiting) == key:
                    self._events[i] = event
                    self._coalesced += 1
                    return
        if self.full:
            if self._policy is Overflow.BLOCK:
                raise EngineError(f"subscription {self.name!r} is full ({self._size} events)")
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self._peak = max(self._peak, len(self._events))
        self._filled.set()

    async def room(self) -> None:
        """Wait until `put` has a place."""
        while self.blocks:
            self._freed.clear()
            await self._freed.wait()

    def take(self) -> EventT | None:
        """Return the oldest event, None when none is waiting."""
        if not self._events:
            self._filled.clear()
            return None
        event = self._events.popleft()
        self._delivered += 1
        self._freed.set()
        return event

    def close(self) -> None:
        """Accept no further events. What is waiting can still be taken. Safe to call twice."""
        self._closed = True
        self._filled.set()
        self._freed.set()

    def stats(self) -> SubscriptionStats:
        return SubscriptionStats(
            len(self._events), self._peak, self._delivered, self._dropped, self._coalesced
        )

    def __aiter__(self) -> Subscription[EventT]:
        return self

    async def __anext__(self) -> EventT:
        while (event := self.take()) is None:
            if self._closed:
                raise StopAsyncIteration
            await self._filled.wait()
        return event


class Bus:
    """In-process event bus keyed by event type."""

    def __init__(self) -> None:
        self._inline: dict[type, list[Callable[[Any], Any]]] = {}
        self._queues: dict[type, list[Subscription[Any]]] = {}

    def subscribe(self, event_type: type, handler: Handler) -> None:
        """Run `handler(event)` inline for every event of this type, after those registered before.

        A coroutine function is awaited.
        """
        self._inline.setdefault(event_type, []).append(handler)

    def queue(
        self,
        *event_types: type[Any],
        name: str,
        size: int,
        policy: Overflow,
        key: Callable[[Any], Hashable] | None = None,
    ) -> Subscription[Any]:
        """Return a subscription that receives events of these types, in one order, off the path."""
        subscription: Subscription[Any] = Subscription(name, size=size, policy=policy, key=key)
        for event_type in event_types:
            self._queues.setdefault(event_type, []).append(subscription)
        return subscription

    async def publish(self, *events: Any) -> None:
        """Hand each event to everybody who listens to its type; return when the inline ones are done."""
        for event in events:
            kind = type(event)
            for handler in self._inline.get(kind, ()):
                result = handler(event)
                if result is not None and inspect.isawaitable(result):
                    await result
            for subscription in self._queues.get(kind, ()):
                if subscription.blocks:
                    await subscription.room()
                subscription.put(event)

    def close(self) -> None:
        """Close every queue, so that its consumer ends when it has drained."""
        for subscriptions in self._queues.values():
            for subscription in subscriptions:
                subscription.close()
