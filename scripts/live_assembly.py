"""From options and settings to the plan of a monitor, and from a plan to what runs.

The two halves meet in the journal: the plan is its first row, so a replay of the journal builds from it alone
what the command line built at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from config import Settings, settings_as_dict
from engine.errors import ConfigError
from engine.facts import FACT_DTYPE
from engine.loop import Loop
from engine.slab import Bars, Membership, Universe
from monitors.book import DeskBook
from monitors.core import Machine, run_inline
from monitors.inputs import LIVE, OF_BARS, OF_MACHINE, Plan
from monitors.monitoring import Monitors
from monitors.positions_file import Held, read_held
from monitors.watched import WatchedDesk
from scripts.assembly import (
    BacktestRequest,
    UsageError,
    build_strategies,
    day,
    desk_config,
    normalised_weights,
)
from scripts.sources import load_facts
from strategies import registry

if TYPE_CHECKING:
    from strategies.base import Strategy

_COUNT_MAX = 1_000_000  # of what settings count
DECIDING = ("risk_management", "backtest", "monitoring", "strategy_weights")  # sections of the settings


@dataclass(frozen=True)
class MonitorRequest:
    """The options of `monitor`, as given."""

    history: BacktestRequest = field(default_factory=BacktestRequest)
    feed: str = "replay"
    speed: float | None = None  # None: as fast as possible
    positions: Path | None = None
    trade_from: str | None = None  # an ISO date; None: the feed's own
    interval: str = "1d"  # of Yahoo's bars
    store: Path | None = None
    replay_journal: Path | None = None
    verify: Path | None = None
    once: bool = False
    json: bool = False


def make_plan(request: MonitorRequest, settings: Settings, universe: Universe) -> Plan:
    """Return what to run on this universe. Raises UsageError, ConfigError and DataError."""
    asked, trade_from = request.history, _trade_from(request)
    strategies = build_strategies(
        asked.strategies, asked.params, asked.strategy_modules, settings.strategy_weights
    )
    weights = normalised_weights(strategies, settings.strategy_weights)
    settings = in_bars(settings, request.interval)
    config = desk_config(settings, mode=asked.mode, capital=asked.capital)
    membership = universe.membership
    plain = settings_as_dict(settings)
    return Plan(
        symbols=universe.symbols,
        sectors=universe.sectors,
        industries=universe.industries,
        exchanges=universe.exchanges,
        benchmark=universe.benchmark,
        member_since=b"" if membership is None else membership.since_ns.tobytes(),
        is_member=b"" if membership is None else membership.is_member.tobytes(),
        strategies=tuple((strategy.name, strategy.parameters()) for strategy in strategies),
        modules=tuple(str(path.resolve()) for path in asked.strategy_modules),
        weights=tuple(weights),
        mode=config.mode.name.lower(),
        capital_usd=config.capital_usd,
        portfolio=settings.monitor.portfolio,
        settings={name: plain[name] for name in DECIDING},
        facts=_facts(asked, settings, universe, strategies),
        positions=_positions(request.positions),
        trade_from=trade_from,
        interval=request.interval,
        time=OF_BARS if request.feed == "replay" else OF_MACHINE,
    )


def in_bars(settings: Settings, interval: str) -> Settings:
    """Return settings whose sessions are counted in bars of an interval: what the desk counts is rows."""
    if interval == "1d":
        return settings
    from feeds.live_intervals import Intervals
    from feeds.yahoo_minutes import MINUTES

    n, replace = Intervals(MINUTES[interval]).per_session, msgspec.structs.replace
    risk, account = settings.risk_management, settings.backtest
    after = account.delist_after_sessions
    return replace(
        settings,
        risk_management=replace(
            risk,
            rearm_sessions=min(n * risk.rearm_sessions, _COUNT_MAX),
            signal_ttl=min(n * risk.signal_ttl, _COUNT_MAX),
        ),
        backtest=replace(account, delist_after_sessions=after and min(n * after, _COUNT_MAX)),
    )


def assemble(plan: Plan) -> Machine:
    """Return what a plan describes, with nothing in it yet."""
    universe = Universe(
        plan.symbols, plan.sectors, plan.industries, plan.exchanges, plan.benchmark, _membership(plan)
    )
    settings = msgspec.convert(plan.settings, Settings)
    _load_modules(plan)
    strategies = [registry.create(name, **parameters) for name, parameters in plan.strategies]
    if plan.facts:
        rows = np.frombuffer(bytearray(plan.facts), FACT_DTYPE)
        users: list[Any] = [strategy for strategy in strategies if hasattr(strategy, "use_facts")]
        for strategy in users:
            strategy.use_facts(rows)
    monitors = Monitors(settings, plan.portfolio)
    if plan.positions is not None:
        watched = WatchedDesk(universe, [Held(*line) for line in plan.positions])
        return Machine(Loop(universe, strategies, watched), watched, monitors)
    from brokers.desk import Desk

    config = desk_config(settings, mode=plan.mode, capital=plan.capital_usd)
    desk = Desk(universe, strategies, config, plan.weights)
    book = DeskBook(desk, universe, [strategy.name for strategy in strategies])
    return Machine(Loop(universe, strategies, desk), book, monitors)


def warm_up(plan: Plan, *, first: bool) -> None:
    """Compile or load the kernels that a plan needs: the event loop must not wait for them later.

    first: nothing has been compiled on this machine yet.
    """
    alone = msgspec.structs.replace(
        plan, symbols=("A",), sectors=("",), industries=("",), exchanges=("",), member_since=b"", facts=b"",
        positions=None,
    )  # fmt: skip
    loop = assemble(alone).loop
    if first:
        from scripts.compilation import compile_ahead

        compile_ahead([registry.create(name, **parameters) for name, parameters in plan.strategies])
    price = np.full((1, 1), 10.0)
    run_inline(loop.process(Bars(np.array([1]), price, price, price, price, 1000.0 * price)))


def _trade_from(request: MonitorRequest) -> str:
    """Return from when on there is trading: a replay is for trying, and trades what it replays."""
    first = day(request.trade_from, "--trade-from")
    if first is not None:
        if request.positions is not None:
            raise UsageError("--trade-from goes with a paper account; --positions are watched, not traded")
        return first.isoformat()
    return "" if request.feed == "replay" else LIVE


class _FactsKeeper:
    """Stands in for the strategies that use facts, to learn which they would get."""

    rows = b""

    def use_facts(self, rows: Any) -> None:
        self.rows = rows.tobytes()


def _facts(
    asked: BacktestRequest, settings: Settings, universe: Universe, strategies: Sequence[Strategy]
) -> bytes:
    keeper = _FactsKeeper()
    users: list[Any] = [keeper] if any(hasattr(strategy, "use_facts") for strategy in strategies) else []
    load_facts(asked, settings, universe, users)
    return keeper.rows


def _positions(path: Path | None) -> tuple[tuple[str, float, float, str], ...] | None:
    if path is None:
        return None
    return tuple((one.symbol, one.shares, one.cost_usd, one.sector) for one in read_held(path))


def _membership(plan: Plan) -> Membership | None:
    if not plan.member_since:
        return None
    since_ns = np.frombuffer(bytearray(plan.member_since), np.int64)
    is_member = np.frombuffer(bytearray(plan.is_member), np.uint8).reshape(len(since_ns), len(plan.symbols))
    return Membership(since_ns, is_member)


def _load_modules(plan: Plan) -> None:
    for path in plan.modules:
        try:
            for name, _ in plan.strategies:
                registry.full_name(name)
        except ConfigError:
            registry.load_module(Path(path))
