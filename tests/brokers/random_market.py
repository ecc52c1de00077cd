"""Small markets in which everything goes wrong: gaps, halts, thin volume, splits, dividends, delistings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba.core import config as numba_config
from numpy.typing import NDArray

from brokers.config import DeskConfig, Intrabar, Mode, PortfolioAction, Sizing, SpreadModel
from engine.events import SIGNAL_DTYPE, OrderType, Tif
from engine.exits import ExitRules
from engine.intake import Intake
from engine.slab import ACTION_DTYPE, NS_PER_DAY, ActionKind, Bars, Membership, Tape, Universe

START = 14_000 * NS_PER_DAY


def examples(n: int) -> int:
    """Return how many random markets a property sees: a tenth when kernels run uncompiled, and so slowly."""
    return max(4, n // 10) if numba_config.DISABLE_JIT else n


@dataclass
class Named:
    """What the desk needs of a strategy."""

    name: str
    exits: ExitRules


@dataclass
class Case:
    universe: Universe
    config: DeskConfig
    rules: list[ExitRules]
    weights: list[float]
    bars: Bars
    market: NDArray[np.int64]
    signals: NDArray[np.void]  # sorted by (ts, symbol, strategy)

    @property
    def strategies(self) -> list[Named]:
        return [Named(f"s{i}", rules) for i, rules in enumerate(self.rules)]

    def signals_of(self, i: int) -> NDArray[np.void]:
        return self.signals[self.signals["strategy"] == i]

    def tape(self) -> Tape:
        return tape_of(self.bars, self.universe)


def tape_of(bars: Bars, universe: Universe) -> Tape:
    intake = Intake()
    intake.start(universe)
    return intake.on_bars(bars)


def random_case(seed: int, n_rows: int = 60, n_symbols: int = 4, **forced: Any) -> Case:
    rng = np.random.default_rng(seed)
    n_strategies = int(rng.integers(1, 4))
    sectors = tuple(str(x) for x in rng.choice(["technology", "energy", "", "utilities"], n_symbols))
    symbols = tuple(f"S{i:02}" for i in range(n_symbols))
    universe = Universe(symbols, sectors, membership=random_membership(seed, n_rows, n_symbols))
    bars = random_bars(rng, n_rows, n_symbols)
    return Case(
        universe,
        random_config(rng, **forced),
        [random_rules(rng) for _ in range(n_strategies)],
        [float(x) for x in rng.choice([1.0, 1.0, 2.0, 0.5], n_strategies)],
        bars,
        rng.choice([0, 0, 0, 1, 2], n_rows).astype(np.int64),
        random_signals(rng, bars, n_strategies),
    )


def random_membership(seed: int, n_rows: int, n_symbols: int) -> Membership | None:
    """Names that join and leave an index, in one market of three; some changes come before the first row."""
    rng = np.random.default_rng((seed, 1))
    if rng.random() < 2 / 3:
        return None
    rows = np.unique(rng.integers(-5, n_rows, 4))
    return Membership(START + rows * NS_PER_DAY, rng.integers(0, 2, (len(rows), n_symbols)).astype(np.uint8))


def random_bars(rng: np.random.Generator, n_rows: int, n_symbols: int) -> Bars:
    """Prices in cents, so that levels are touched exactly; one symbol in two halts now and then."""
    shape = (n_rows, n_symbols)
    start = rng.choice([3.0, 12.0, 40.0, 90.0], n_symbols)
    volatility = rng.choice([0.01, 0.03, 0.08], n_symbols)
    close = start * np.exp(np.cumsum(rng.normal(0.001, volatility, shape), axis=0))
    before = np.vstack([start, close[:-1]])
    open_ = before * np.exp(rng.normal(0.0, volatility, shape) * (rng.random(shape) < 0.5))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, volatility, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, volatility, shape)))
    volume = np.floor(np.exp(rng.normal(rng.choice([4.0, 8.0, 12.0], n_symbols), 1.0, shape)))
    volume[rng.random(shape) < 0.04] = 0.0
    actions = []
    for s in range(n_symbols):
        for t in np.flatnonzero(rng.random(n_rows) < 0.03):
            actions.append(_action(rng, int(t), s, [x[t:, s] for x in (open_, high, low, close, volume)]))
    open_, high, low, close = (np.round(np.maximum(x, 0.05), 2) for x in (open_, high, low, close))
    high, low = np.maximum(high, np.maximum(open_, close)), np.minimum(low, np.minimum(open_, close))
    missing = rng.random(shape) < rng.choice([0.0, 0.03, 0.15])
    for s in np.flatnonzero(rng.random(n_symbols) < 0.25):
        a, b = np.sort(rng.integers(0, n_rows + 20, 2))
        missing[a:b, s] = True
    high[rng.random(shape) < 0.01] = 0.01  # invalid bars: dropped at the door
    for x in (open_, high, low, close, volume):
        x[missing] = np.nan
    days = np.cumsum(rng.choice([1, 1, 1, 3, 70], n_rows, p=[0.4, 0.3, 0.18, 0.11, 0.01]))
    rows = np.array(sorted(actions), ACTION_DTYPE) if actions else np.empty(0, ACTION_DTYPE)
    return Bars(START + days * NS_PER_DAY, open_, high, low, close, volume, rows)


def _action(rng: np.random.Generator, t: int, s: int, later: list[Any]) -> tuple[int, int, int, float]:
    kind = int(rng.choice([0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6]))
    value = 0.0
    if kind == ActionKind.SPLIT:
        value = float(rng.choice([2.0, 3.0, 1.5, 0.5, 0.1, 1 / 3, 1 / 49]))
        for prices in later[:4]:
            prices /= value
        later[4][:] = np.floor(later[4] * value)
    elif kind == ActionKind.DIVIDEND:
        value = float(rng.choice([0.01, 0.25, 5.0]))
    elif kind == ActionKind.DELIST_PROCEEDS:
        value = float(rng.choice([0.0, 7.77]))
    return t, s, kind, value


def random_signals(rng: np.random.Generator, bars: Bars, n_strategies: int) -> NDArray[np.void]:
    rows = []
    density = float(rng.choice([0.05, 0.3]))
    for t in range(bars.n_rows):
        for s in range(bars.n_symbols):
            for i in range(n_strategies):
                if rng.random() < density:
                    rows.append(_signal(rng, bars, t, s, i))
    return np.array(rows, SIGNAL_DTYPE) if rows else np.empty(0, SIGNAL_DTYPE)


def _signal(rng: np.random.Generator, bars: Bars, t: int, s: int, i: int) -> tuple[Any, ...]:
    side = 1 if rng.random() < 0.65 else -1
    ref = float(bars.close[t, s])
    if not ref > 0:
        ref = float(rng.choice([np.nan, 10.0]))

    def level(low: float, high: float, often: float) -> float:
        return float(np.round(ref * rng.uniform(low, high), 2)) if rng.random() < often else np.nan

    kind = OrderType(int(rng.choice([0, 0, 0, 0, 1, 2, 3, 4])))
    limit = level(0.93, 1.05, 1.0) if kind == OrderType.LIMIT else np.nan
    trigger = level(0.95, 1.06, 0.7 if kind == OrderType.TRAILING_STOP else 1.0)
    return (
        bars.ts[t], s, i, side, float(rng.choice([0.5, 0.5, 0.6, 0.9, 1.0, rng.random()])), ref,
        level(0.8, 1.01, 0.4), ref * rng.uniform(0.02, 0.2) if rng.random() < 0.3 else np.nan, int(kind),
        int(rng.choice([Tif.DAY, Tif.GTC])), limit,
        trigger if kind in (OrderType.STOP, OrderType.TRAILING_STOP) else np.nan,
        ref * rng.uniform(0.02, 0.1), level(0.99, 1.1, 0.2), level(0.95, 1.0, 0.5), level(1.02, 1.3, 0.4),
        np.full(10, np.nan),
    )  # fmt: skip


def random_rules(rng: np.random.Generator) -> ExitRules:
    def on(value: Any, off: Any = 0) -> Any:
        return value if rng.random() < 0.3 else off

    return ExitRules(
        sma_bars=on(int(rng.integers(2, 12))),
        low_bars=on(int(rng.integers(1, 8))),
        failed_breakout_bars=on(5),
        scale_out_gain=on(0.03, 0.0),
        scale_out_fraction=float(rng.choice([0.25, 0.5])),
        take_profit_gain=on(0.06, 0.0),
        quick_gain=on(0.04, 0.0),
        quick_bars=int(rng.integers(1, 6)),
        quick_hold_bars=int(rng.integers(5, 12)),
        max_holding_bars=on(int(rng.integers(1, 10))),
        trail_atr_multiple=on(float(rng.choice([0.5, 2.0])), 0.0),
        trail_atr_bars=4,
        exit_in_bear=on(1),
        m_gate=on(int(rng.integers(1, 4))),
    )


def random_config(rng: np.random.Generator, **forced: Any) -> DeskConfig:
    def pick(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    limits = {"technology": 0.4, "energy": 0.2, "other": 0.5}
    values = {
        "mode": pick(Mode.SLEEVE, Mode.SLEEVE, Mode.BLEND),
        "capital_usd": pick(2_000.0, 20_000.0, 100_000.0, 1e6),
        "position_sizing": Sizing(pick(0, 0, 1, 2, 3, 4)),
        "max_positions": pick(1, 2, 3, 20, None),
        "max_name": pick(0.1, 0.5, None, 1.0),
        "sector_limits": pick(limits, limits, None, {"technology": None, "other": 0.3}),
        "max_gross": pick(1.0, 0.5, None),
        "adv_cap": pick(0.05, 0.5, None),
        "min_notional_usd": pick(500.0, 10.0, None),
        "individual_stop": pick(0.08, 0.03, None),
        "portfolio_stop": pick(0.2, 0.05, 0.02, None),
        "portfolio_action": PortfolioAction(pick(0, 1, 2)),
        "rearm_sessions": pick(1, 3),
        "rearm_regime": pick(True, False),
        "drawdown_warnings": pick((0.10, 0.15), (0.01, 0.03)),
        "min_confidence": pick(0.5, 0.2),
        "signal_ttl_sessions": pick(5, 1),
        "commission_rate": pick(0.001, 0.0, 0.01),
        "slippage_bps": pick(5.0, 0.0),
        "spread_model": SpreadModel(pick(0, 0, 1)),
        "half_spread_bps": pick(0.0, 20.0),
        "impact_coefficient": pick(0.0, 0.0, 0.75),
        "participation": pick(0.1, 0.01, None, 0.5),
        "entry_carry_bars": pick(3, 0, 1),
        "exit_waive_bars": pick(10, 2, 0),
        "intrabar": Intrabar(pick(0, 1, 2)),
        "delist_after_sessions": pick(20, 3, None),
        "dividend_lowers_stop": pick(False, True),
        "fractional_shares": pick(False, False, True),
        **forced,
    }
    return DeskConfig(**values)
