"""What a live feed is: rows as they become complete, and word of its own health.

1. A row comes once its bars are complete, with a timestamp later than every row before it.
2. `events(after)` first gives everything complete since `after`, marked as back-filled, so that indicators
   have no hole after a restart or an outage; then what happens.
3. What is wrong with ticks or rows is said (late, quarantined, suspected_split), never repaired in silence,
   and never by editing a row that was given before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, Protocol

from engine.slab import Bars, Universe

StatusKind = Literal[
    "connected",  # caught up: what follows is live
    "stale",  # nothing came for longer than it should take
    "down",  # the connection is lost or refused
    "recovered",
    "late",  # a tick or bar came after its row was given; it was left out
    "quarantined",  # a tick or bar was refused
    "suspected_split",  # a price jumped by a whole ratio without a corporate action
    "end",  # no row will follow
]


class LiveRow(NamedTuple):
    """One completed row: `bars` has K = 1."""

    bars: Bars
    source: str  # "replay", "yahoo_poll", ...
    backfilled: bool


class FeedStatus(NamedTuple):
    """The feed's health changed, or something was refused."""

    kind: StatusKind
    symbol: str  # "" for the whole feed
    detail: str


FeedEvent = LiveRow | FeedStatus


class LiveFeed(Protocol):
    """A source of rows that goes on by itself: it reconnects, and waits, and says so."""

    @property
    def universe(self) -> Universe: ...

    @property
    def alive_s(self) -> float | None:
        """Monotonic time at which the feed last did anything: asked, received, or began a wait that it means
        to end. A feed that hangs shows here. None: cannot be told."""
        ...

    def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        """Yield what happens, beginning with the rows after `after_ts_ns`. Closing the iterator frees it."""
        ...
