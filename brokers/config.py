"""Everything that sizing, the risk gate and the simulated broker may be told. None switches a limit off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from engine.errors import ConfigError


class Mode(IntEnum):
    SLEEVE = 0  # an account per strategy, capital = weight x total
    BLEND = 1  # one account, aggregated signals


class Sizing(IntEnum):
    EQUAL_WEIGHT = 0
    FIXED_RISK = 1
    VOL_TARGET = 2
    CONFIDENCE = 3
    FIXED_NOTIONAL = 4


class Intrabar(IntEnum):
    """Which of stop and target is taken to come first when both lie inside one bar."""

    WORST = 0
    BEST = 1
    PATH = 2  # the extreme nearer to the open comes first


class PortfolioAction(IntEnum):
    LIQUIDATE = 0
    HALT_ONLY = 1
    HALVE = 2


class SpreadModel(IntEnum):
    FIXED = 0  # `half_spread_bps` for every symbol
    CORWIN_SCHULTZ = 1  # half the high-low estimate of each symbol


DEFAULT_SECTOR_LIMITS = {"biotech": 0.35, "technology": 0.40, "energy": 0.30, "other": 0.25}


@dataclass(frozen=True)
class DeskConfig:
    """Settings of one run's accounts. Shares of equity are fractions of 1. Defaults: domain specification."""

    mode: Mode = Mode.SLEEVE
    capital_usd: float = 100_000.0
    # Sizing
    position_sizing: Sizing = Sizing.EQUAL_WEIGHT
    max_positions: int | None = 20
    risk_per_trade: float = 0.01
    target_volatility: float = 0.15  # annualised, of the whole book
    fixed_notional_usd: float = 2_000.0
    # Caps
    max_name: float | None = 0.10
    sector_limits: Mapping[str, float | None] | None = field(
        default_factory=lambda: dict(DEFAULT_SECTOR_LIMITS)
    )
    max_gross: float | None = 1.0
    adv_cap: float | None = 0.05  # of 20-bar average dollar volume
    min_notional_usd: float | None = 500.0
    # Stops
    individual_stop: float | None = 0.08
    portfolio_stop: float | None = 0.20
    portfolio_action: PortfolioAction = PortfolioAction.LIQUIDATE
    rearm_sessions: int = 20
    rearm_regime: bool = True  # wait for a close whose regime is not bear
    drawdown_warnings: tuple[float, ...] = (0.10, 0.15)
    # Aggregation
    min_confidence: float = 0.5
    signal_ttl_sessions: int = 5
    # Broker
    commission_rate: float = 0.001  # of the value of each fill
    slippage_bps: float = 5.0
    spread_model: SpreadModel = SpreadModel.FIXED
    half_spread_bps: float = 0.0
    impact_coefficient: float = 0.0  # 0.75 in the preset `realistic`
    participation: float | None = 0.10  # of a bar's volume, all accounts together
    entry_carry_bars: int = 3
    exit_waive_bars: int = 10
    intrabar: Intrabar = Intrabar.WORST
    delist_after_sessions: int | None = 20
    dividend_lowers_stop: bool = False  # a dividend of more than 5 % of the price lowers resting stops
    fractional_shares: bool = False

    def __post_init__(self) -> None:
        if not self.capital_usd > 0:
            raise ConfigError(f"capital_usd must be > 0, was {self.capital_usd}")
        if self.max_positions is not None and self.max_positions < 1:
            raise ConfigError(f"max_positions must be >= 1 or null, was {self.max_positions}")
