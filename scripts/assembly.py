"""From options and settings to the objects of a run: feed, strategies with weights, desk.

What the command line says wins over the settings. Mistakes in the command line are `UsageError` (exit
code 2), in the settings or in parameters `ConfigError` or `SettingsError` (78), in files `DataError` (65).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, SmallcapError

if TYPE_CHECKING:
    from brokers.config import DeskConfig
    from config.settings import Settings
    from strategies.base import Strategy


class UsageError(SmallcapError):
    """An option has a value that cannot be used, or options contradict each other."""

    exit_code = 2


@dataclass(frozen=True)
class BacktestRequest:
    """The options of `backtest`, as given. None: the settings decide."""

    symbols: tuple[str, ...] = ()
    symbols_file: Path | None = None
    universe: str | None = None
    data: Path | None = None
    sectors: Path | None = None
    start: str | None = None
    end: str | None = None
    strategies: tuple[str, ...] = ()
    mode: str | None = None
    capital: float | None = None
    benchmark: str | None = None
    benchmark_weights: Path | None = None
    params: tuple[str, ...] = ()
    fundamentals: Path | None = None
    strategy_modules: tuple[Path, ...] = ()
    adjustment: str | None = None
    output_dir: Path | None = None
    pdf: bool = False
    email: bool = False
    slab_rows: int = 1024
    strict: bool = False
    json: bool = False
    seed: int = 7


def build_strategies(
    names: Sequence[str], params: Sequence[str], modules: Sequence[Path], weights: Mapping[str, float]
) -> list[Strategy]:
    """Return the strategies to run, in the order named.

    Without names: the built-in ones, except those that the settings give no weight, and those of `modules`.
    """
    from strategies import registry

    added = [name for module in modules for name in registry.load_module(module)]
    if names:
        full = list(dict.fromkeys(_full_name(name, "--strategies") for name in names))
    else:
        full = [name for name in registry.BUILT_IN if weights.get(name, 1.0) > 0] + added
    given = _parameters(params, full)
    return [registry.create(name, **given.get(name, {})) for name in full]


def normalised_weights(strategies: Sequence[Strategy], weights: Mapping[str, float]) -> list[float]:
    """Return each strategy's share of the capital, summing to 1.

    A strategy that the settings do not know (a third party's) gets the mean weight of those run beside it
    that they do know: an equal share when it knows none.
    """
    known = [weights[s.name] for s in strategies if s.name in weights]
    mean = sum(known) / len(known) if known else 1.0
    chosen = [weights.get(strategy.name, mean) for strategy in strategies]
    for strategy, weight in zip(strategies, chosen, strict=True):
        if not weight > 0:
            raise ConfigError(f"strategy_weights.{strategy.name} must be > 0 to run it, was {weight}")
    total = sum(chosen)
    return [weight / total for weight in chosen]


def desk_config(settings: Settings, *, mode: str | None = None, capital: float | None = None) -> DeskConfig:
    """Return the desk's configuration: settings `risk_management` and `backtest`, options over them."""
    from brokers.config import DeskConfig, Intrabar, Mode, PortfolioAction, Sizing, SpreadModel

    if capital is not None and not 0 < capital <= 1e12:
        raise UsageError(f"--capital must be > 0 and at most 1e12 dollars, was {capital:g}")
    risk, account = settings.risk_management, settings.backtest
    realistic = account.costs == "realistic"
    return DeskConfig(
        mode=Mode[(mode or account.mode).upper()],
        capital_usd=capital or account.initial_capital,
        position_sizing=Sizing[risk.position_sizing.upper()],
        max_positions=risk.max_positions,
        risk_per_trade=risk.risk_per_trade,
        target_volatility=risk.target_volatility,
        fixed_notional_usd=risk.fixed_notional,
        max_name=risk.max_name,
        sector_limits=risk.sector_limits,
        max_gross=risk.max_gross,
        adv_cap=risk.adv_cap,
        min_notional_usd=risk.min_notional,
        individual_stop=risk.individual_stop,
        portfolio_stop=risk.portfolio_stop,
        portfolio_action=PortfolioAction[risk.portfolio_action.upper()],
        rearm_sessions=risk.rearm_sessions,
        rearm_regime=risk.rearm_regime,
        drawdown_warnings=tuple(risk.drawdown_warnings),
        min_confidence=risk.min_confidence,
        signal_ttl_sessions=risk.signal_ttl,
        commission_rate=account.transaction_cost,
        slippage_bps=account.slippage_bps,
        spread_model=SpreadModel.CORWIN_SCHULTZ if realistic else SpreadModel.FIXED,
        half_spread_bps=account.half_spread_bps,
        impact_coefficient=0.75 if realistic else account.impact_coefficient,
        participation=account.participation,
        entry_carry_bars=account.entry_carry_bars,
        exit_waive_bars=account.exit_waive_bars,
        intrabar=Intrabar[account.intrabar.upper()],
        delist_after_sessions=account.delist_after_sessions,
        dividend_lowers_stop=account.dividend_lowers_stop,
        fractional_shares=account.fractional_shares,
    )


def day(text: str | None, option: str) -> date | None:
    """Return the date of an option."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{option} must be a date such as 2020-01-31, was {text!r}") from None


def _full_name(name: str, option: str) -> str:
    from strategies import registry

    try:
        return registry.full_name(name)
    except ConfigError as error:
        known = [*registry.SHORT_NAMES, *registry.BUILT_IN]
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"{option}: {error}{hint}") from None


def _parameters(params: Sequence[str], chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return {strategy: {key: text}} of NAME.key=value options."""
    given: dict[str, dict[str, Any]] = {}
    for option in params:
        target, equals, value = option.partition("=")
        name, dot, key = target.strip().partition(".")
        if not (equals and dot and name and key):
            raise UsageError(f"--param must be NAME.key=value, was {option!r}")
        full = _full_name(name, f"--param {option}")
        if full not in chosen:
            raise UsageError(f"--param {option}: {name} is not run; --strategies has {', '.join(chosen)}")
        given.setdefault(full, {})[key] = value.strip()
    return given
