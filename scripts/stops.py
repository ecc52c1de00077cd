"""How the stops of a run moved: a second replay, one row at a time, for strategies whose stops do move."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from brokers.config import DeskConfig
    from engine.slab import Feed
    from strategies.base import Strategy


def moving_stops(
    feed: Feed, strategies: Sequence[Strategy], config: DeskConfig, weights: Sequence[float]
) -> NDArray[np.void] | None:
    """Return a row (`reports.artefacts.STOP_DTYPE`) for each close that changed the stop of a position; None
    where no strategy trails its stops and dividends do not lower them. The strategies are started anew.

    Results do not depend on how rows are cut, so what is held after each row alone is what was held then.
    """
    trailing = any(strategy.exits.trail_atr_multiple > 0 for strategy in strategies)
    if not (trailing or config.dividend_lowers_stop):
        return None
    from brokers.desk import Desk
    from engine.events import Equity
    from engine.loop import Loop
    from reports.artefacts import STOP_DTYPE

    desk = Desk(feed.universe, strategies, config, weights)
    loop = Loop(feed.universe, strategies, desk)
    known: dict[tuple[int, int, int], float] = {}
    found: list[tuple[int, int, int, int, float]] = []

    def on_equity(event: Equity) -> None:
        held = desk.open_positions()
        columns = ("account", "symbol", "ts_entry", "strategy", "stop", "initial_stop")
        for account, symbol, entry, strategy, stop, initial in zip(
            *(held[name].tolist() for name in columns), strict=True
        ):
            key = (account, symbol, entry)
            if stop != known.setdefault(key, initial) and stop == stop:  # NaN: no stop
                known[key] = stop
                found.append((int(event.ts[-1]), symbol, strategy, entry, stop))

    bus: Any = loop.bus
    bus.subscribe(Equity, on_equity)
    asyncio.run(loop.run(feed, 1))
    return np.array(found, STOP_DTYPE)
