"""History as a live feed: the same rows, at the speed asked for, from where somebody left off."""

import numpy as np
import pytest

from engine.clock import ManualClock
from engine.errors import ConfigError
from engine.slab import NS_PER_DAY, Bars, Universe, join
from feeds.live import FeedStatus, LiveRow
from feeds.memory import MemoryFeed
from feeds.replay import SLAB_ROWS, ReplayFeed


def history(n_rows):
    price = 10.0 + np.arange(n_rows, dtype=np.float64).reshape(-1, 1)
    ts = np.arange(1, n_rows + 1) * NS_PER_DAY
    return MemoryFeed(Universe(("A",)), Bars(ts, price, price, price, price, price))


async def given(feed, after_ts_ns=0):
    return [event async for event in feed.events(after_ts_ns)]


async def test_every_row_comes_once_in_order_and_the_end_is_told():
    feed = history(2 * SLAB_ROWS + 3)
    events = await given(ReplayFeed(feed, ManualClock()))
    assert all(isinstance(event, LiveRow) for event in events[:-1])
    assert isinstance(events[-1], FeedStatus)
    assert events[-1].kind == "end"
    again = join([event.bars for event in events[:-1]])
    assert again.close.tobytes() == feed.bars.close.tobytes()


@pytest.mark.parametrize("after", [0, 1, SLAB_ROWS, SLAB_ROWS + 1, SLAB_ROWS + 3])
async def test_it_goes_on_after_the_row_it_is_told(after):
    events = await given(ReplayFeed(history(SLAB_ROWS + 3), ManualClock()), after * NS_PER_DAY)
    assert [int(event.bars.ts[0]) // NS_PER_DAY for event in events[:-1]] == list(
        range(after + 1, SLAB_ROWS + 4)
    )


async def test_the_speed_divides_the_time_between_rows():
    clock = ManualClock()

    class Fast(ManualClock):
        async def sleep(self, seconds):
            await clock.advance(seconds)

        def monotonic_s(self):
            return clock.monotonic_s()

    await given(ReplayFeed(history(11), Fast(), speed=86_400.0))
    assert clock.monotonic_s() == pytest.approx(10.0)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ConfigError, match="speed"):
        ReplayFeed(history(1), ManualClock(), speed)
