"""History as a live feed: any feed of slabs, row by row, at a multiple of real time or as fast as it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.clock import Clock
from engine.errors import ConfigError
from engine.slab import Feed, Universe
from feeds.live import FeedEvent, FeedStatus, LiveRow

SLAB_ROWS = 256  # read at a time
SOURCE = "replay"


class ReplayFeed:
    """Gives the rows of `feed`. `speed`: seconds of history per second, None for as fast as possible.

    The first row comes at once; each later one after the time that lay between the two, divided by `speed`.
    """

    def __init__(self, feed: Feed, clock: Clock, speed: float | None = None) -> None:
        if speed is not None and not speed > 0:
            raise ConfigError(f"the speed of a replay must be > 0, was {speed}")
        self._feed = feed
        self._clock = clock
        self._speed = speed

    @property
    def universe(self) -> Universe:
        return self._feed.universe

    @property
    def alive_s(self) -> float | None:
        return None  # Waits as long as history did

    async def events(self, after_ts_ns: int) -> AsyncIterator[FeedEvent]:
        began_s, first_ns = None, 0
        async for slab in self._feed.slabs(SLAB_ROWS):
            if slab.ts[-1] <= after_ts_ns:
                continue
            for bars in slab.cut(1):
                ts_ns = int(bars.ts[0])
                if ts_ns <= after_ts_ns:
                    continue
                if began_s is None:
                    began_s, first_ns = self._clock.monotonic_s(), ts_ns
                if self._speed is not None:
                    # From the first row on, not from the last: what a row costs must not add up
                    due_s = began_s + (ts_ns - first_ns) / 1e9 / self._speed
                    await self._clock.sleep(due_s - self._clock.monotonic_s())
                yield LiveRow(bars, SOURCE, backfilled=False)
        yield FeedStatus("end", "", "the history ends here")
