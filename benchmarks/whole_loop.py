"""The whole loop as it is measured: bus with a subscriber for every kind of event, strategies, desk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.ema_cross import EmaCross
from benchmarks.result import CrossRun, short_hash
from brokers.config import DeskConfig, Sizing
from brokers.desk import Desk
from engine import events
from engine.bus import Bus
from engine.events import OrderStatus
from engine.loop import Loop
from engine.slab import Bars, Universe
from feeds.memory import MemoryFeed
from strategies import registry

BATCHES = (
    events.Signals, events.Orders, events.Fills, events.Rejections, events.CashFlows, events.Trades,
    events.RiskEvents,
)  # fmt: skip
NOTIONAL_USD = 2_000.0
# Enough for every name at once: the comparison is not about who runs out of cash first
CROSS_CONFIG = DeskConfig(
    capital_usd=10_000_000.0,
    position_sizing=Sizing.FIXED_NOTIONAL,
    fixed_notional_usd=NOTIONAL_USD,
    max_positions=None,
    max_name=None,
    sector_limits=None,
    max_gross=None,
    adv_cap=None,
    min_notional_usd=None,
    individual_stop=None,
    portfolio_stop=None,
    drawdown_warnings=(),
    commission_rate=0.001,
    slippage_bps=0.0,
    participation=None,
    delist_after_sessions=None,
)


class Run(NamedTuple):
    """Everything that the bus carried, per kind in order."""

    bars: int
    log: dict[type, list[Any]]

    def rows(self, kind: type) -> Any:
        """Return all rows of one kind as one array; None if there were none."""
        batches = [batch.rows for batch in self.log[kind]]
        return np.concatenate(batches) if batches else None

    def count(self, kind: type) -> int:
        """Return how many rows of a kind there were."""
        return sum(len(batch.rows) for batch in self.log[kind])

    @property
    def digest(self) -> str:
        """16 hex digits over every event; the same however the bars were cut into slabs."""
        signals = self.rows(events.Signals)
        parts = []
        if signals is not None:  # Per slab they come strategy by strategy
            order = np.lexsort((signals["symbol"], signals["strategy"], signals["ts"]))
            parts.append(signals[order].tobytes())
        parts += [rows.tobytes() for kind in BATCHES[1:] if (rows := self.rows(kind)) is not None]
        for name in ("ts", "cash", "gross", "equity"):
            parts += [getattr(event, name).tobytes() for event in self.log[events.Equity]]
        return short_hash(*parts)

    def cross(self) -> CrossRun:
        """Return what the C pass also returns."""
        orders = self.rows(events.Orders)
        placed = 0 if orders is None else int((orders["status"] == OrderStatus.ACCEPTED).sum())
        equity = np.concatenate([event.equity[:, 0] for event in self.log[events.Equity]])
        return CrossRun(placed, self.count(events.Fills), equity)


def run_loop(
    universe: Universe, bars: Bars, strategies: list[Any], config: DeskConfig, slab_rows: int
) -> Run:
    """Build a loop, run it over the bars, and return what its bus carried."""
    bus = Bus()
    log: dict[type, list[Any]] = {}
    for kind in (Bars, *BATCHES, events.Equity):
        log[kind] = []
        bus.subscribe(kind, log[kind].append)
    loop = Loop(universe, strategies, Desk(universe, strategies, config), bus)
    asyncio.run(loop.run(MemoryFeed(universe, bars), slab_rows))
    return Run(loop.counters.bars, log)


def ema_cross(universe: Universe, bars: Bars, slab_rows: int) -> Callable[[], Run]:
    """Return a function that runs the EMA cross."""
    return lambda: run_loop(universe, bars, [EmaCross()], CROSS_CONFIG, slab_rows)


def four_strategies(universe: Universe, bars: Bars, slab_rows: int) -> Callable[[], Run]:
    """Return a function that runs the built-in strategies with the default settings."""
    return lambda: run_loop(
        universe, bars, [registry.create(name) for name in registry.BUILT_IN], DeskConfig(), slab_rows
    )


def one_strategy(universe: Universe, bars: Bars, slab_rows: int) -> Callable[[], Run]:
    """Return a function that runs trend following with the default settings."""
    return lambda: run_loop(universe, bars, [registry.create("trend")], DeskConfig(), slab_rows)
