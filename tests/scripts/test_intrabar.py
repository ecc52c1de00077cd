"""The spread between the best and the worst assumption about prices inside a bar."""

import numpy as np

from brokers.config import DeskConfig, Intrabar
from engine.events import Side
from engine.slab import NS_PER_DAY, Bars, Universe
from feeds.memory import MemoryFeed
from scripts.intrabar import intrabar_spread
from strategies.base import RowStrategy, Signal


class OnceWithTarget(RowStrategy):
    name = "once_with_target"

    def on_row(self, row):
        if not self.memory:
            self.memory["done"] = 1
            yield Signal("A", Side.BUY, 0.9, structure_stop=9.5, target=11.0)


def feed(high, low):
    """Buy at 10 on the second day; the third reaches from `low` to `high`."""
    rows = np.array([[10, 10, 10, 10], [10, 10.1, 9.9, 10], [10, high, low, 10], [10, 10, 10, 10]], float)
    columns = [rows[:, [i]] for i in range(4)]
    ts = (np.arange(4) + 15_000) * NS_PER_DAY
    return MemoryFeed(Universe(("A",)), Bars(ts, *columns, np.full((4, 1), 1e6)))


def spread(high, low):
    config = DeskConfig(capital_usd=100_000.0, slippage_bps=0.0, commission_rate=0.0, adv_cap=None)
    assert config.intrabar == Intrabar.WORST
    return intrabar_spread(feed(high, low), [OnceWithTarget()], config, [1.0], 2)


def test_a_bar_that_holds_stop_and_target_is_worth_their_distance():
    assert spread(11.5, 9.0) == {"usd": 500 * 1.5, "share": 500 * 1.5 / 100_000}


def test_a_bar_that_holds_only_the_stop_leaves_nothing_open():
    assert spread(10.5, 9.0)["usd"] == 0.0
