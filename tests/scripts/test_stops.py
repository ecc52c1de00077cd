"""Stops that move are those that the desk had at every close."""

import asyncio

import numpy as np
import pytest

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.events import Fills, Side
from engine.loop import Loop
from feeds.synthetic import SyntheticMarket
from reports.recorder import Recorder
from scripts.stops import moving_stops
from strategies import registry


def replayed(**parameters):
    feed = SyntheticMarket(seed=5, n_symbols=30, years=2)
    strategies = [registry.create("trend", **parameters)]
    loop = Loop(feed.universe, strategies, Desk(feed.universe, strategies, DeskConfig()))
    recorder = Recorder.attached_to(loop)
    asyncio.run(loop.run(feed))
    return feed, strategies, recorder, loop.desk


def test_a_trailing_stop_only_rises_and_is_what_the_position_ends_at():
    feed, strategies, recorder, desk = replayed(trail_atr_multiple=2.0)
    stops = moving_stops(feed, strategies, DeskConfig(), [1.0])
    assert len(stops) > 50
    for key in {(row["symbol"], row["ts_entry"]) for row in stops}:
        own = stops[(stops["symbol"] == key[0]) & (stops["ts_entry"] == key[1])]
        assert np.all(np.diff(own["ts"]) > 0)
        assert np.all(np.diff(own["stop"]) > 0)
    for held in desk.open_positions():
        own = stops[(stops["symbol"] == held["symbol"]) & (stops["ts_entry"] == held["ts_entry"])]
        assert held["stop"] == (own["stop"][-1] if len(own) else held["initial_stop"])
    # A sale at the stop, inside the bar, is at the stop of the close before less costs.
    sold = recorder.rows(Fills)
    sold = sold[sold["side"] == Side.SELL]
    at_stop = 0
    for fill in sold:
        own = stops[(stops["symbol"] == fill["symbol"]) & (stops["ts"] < fill["ts"])]
        at_stop += len(own) > 0 and fill["price"] == pytest.approx(own["stop"][-1], rel=2e-3)
    assert at_stop > 5


def test_stops_that_do_not_move_are_not_replayed():
    feed, strategies, *_ = replayed()
    assert moving_stops(feed, strategies, DeskConfig(), [1.0]) is None
