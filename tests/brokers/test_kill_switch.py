"""The kill switch: nothing is bought while it is on, and everything held can still be sold."""

from __future__ import annotations

import numpy as np
import pytest

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.events import SIGNAL_DTYPE, OrderType, Reason, Tif
from engine.exits import ExitRules
from engine.slab import NS_PER_DAY, Bars, Universe
from tests.brokers.done import Done
from tests.brokers.random_market import Named, tape_of
from tests.brokers.scenario import BARE

N_ROWS = 6


def signal_at(row: int, side: int, **fields: float) -> np.void:
    given = np.zeros((), SIGNAL_DTYPE)
    for name, kind in SIGNAL_DTYPE.fields.items():  # type: ignore[union-attr]
        if kind[0].kind == "f" or name == "details":
            given[name] = np.nan
    given["ts"], given["side"], given["confidence"], given["price_ref"] = row + 1, side, 0.7, 10.0
    for name, value in fields.items():
        given[name] = value
    return given[()]


class Market:
    """One flat symbol; sessions are played one at a time, so that the switch can be thrown between two."""

    def __init__(self) -> None:
        self.universe = Universe(("A",))
        self.desk = Desk(self.universe, [Named("s", ExitRules())], DeskConfig(**BARE))
        self.row = 0

    def session(self, *signals: np.void):
        price = np.full((1, 1), 10.0)
        ts = np.array([(15_000 + self.row) * NS_PER_DAY])
        rows = np.array(list(signals), SIGNAL_DTYPE)
        rows["ts"] = ts[0]
        bars = Bars(ts, price, price, price, price, price * 1e6)
        self.row += 1
        return Done(self.desk.process(tape_of(bars, self.universe), np.zeros(1, np.int64), [rows]))


def reasons(rows, field="reason"):
    return [Reason(int(value)).name for value in rows[field] if value]


def test_no_signal_becomes_an_order_while_it_is_on():
    market = Market()
    market.desk.bar_entries(Reason.KILL_SWITCH)
    done = market.session(signal_at(0, 1))
    assert reasons(done.rejections) == ["KILL_SWITCH"]
    assert len(done.orders) == 0
    market.desk.bar_entries(Reason.NONE)
    assert len(market.session(signal_at(1, 1)).orders) == 1


@pytest.mark.parametrize("resting", [False, True])
def test_an_entry_that_waits_is_cancelled_before_it_can_fill(resting):
    market = Market()
    limit = {"order_type": float(OrderType.LIMIT), "limit": 5.0, "tif": float(Tif.GTC)} if resting else {}
    assert len(market.session(signal_at(0, 1, **limit)).orders) == 1
    market.desk.bar_entries(Reason.KILL_SWITCH)
    done = market.session()
    assert len(done.fills) == 0
    assert reasons(done.orders, "end_reason") == ["KILL_SWITCH"]


def test_what_is_held_can_be_sold_while_it_is_on():
    market = Market()
    market.session(signal_at(0, 1))
    assert len(market.session().fills) == 1
    market.desk.bar_entries(Reason.KILL_SWITCH)
    market.session(signal_at(2, -1))
    sold = market.session().fills
    assert sold["side"].tolist() == [-1]
