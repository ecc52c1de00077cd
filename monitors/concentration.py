"""Concentration: what sectors and single names are of the portfolio's equity.

The limits go by equity, cash included, as those of the gate do. The share of what is invested, which the
original tool went by, is told beside it: the two differ whenever cash is held. A short position counts by its
size: it makes no room for a long one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from math import nan

from config.settings import Monitoring, RiskManagement
from engine.errors import ConfigError
from monitors.alerts import Contribution, Reading, Subject
from monitors.view import MICRO, PortfolioView

OTHER = "other"
POSITIONS_SHOWN = 10


def check_limits(risk: RiskManagement) -> None:
    """Raise ConfigError for limits under which an unknown sector would pass unlimited by accident."""
    if risk.sector_limits is not None and OTHER not in risk.sector_limits:
        raise ConfigError("risk_management.sector_limits: needs a limit for 'other' (null switches it off)")


def sector_readings(
    view: PortfolioView, watched: Collection[Subject], risk: RiskManagement, monitoring: Monitoring
) -> Iterator[Reading]:
    """Yield the share of every sector held that has a limit and is not clear of it, in order of name.

    watched: subjects to be measured even if they are clear.
    """
    limits = risk.sector_limits
    if limits is None:
        return
    values_micro = view.positions.values_micro
    totals = _totals(view.positions.sector, values_micro)
    for sector in sorted(totals):
        limit = limits.get(sector, limits[OTHER])
        if limit is None:
            continue
        of_equity = share(totals[sector], view.equity_micro)
        if of_equity <= limit - monitoring.sector_clear and ("sector", sector) not in watched:
            continue
        invested = sum(map(abs, values_micro))
        of_invested = f"{totals[sector] / invested:.1%}" if invested > 0 else "an unknown share"
        yield Reading(
            "sector", sector, of_equity, (limit,), ("warning",),
            clear_gap=monitoring.sector_clear,
            inclusive=False,
            detail=f"{of_invested} of what is invested",
            positions=_largest(view, view.positions.sector, sector),
        )  # fmt: skip


def name_readings(
    view: PortfolioView, watched: Collection[Subject], monitoring: Monitoring
) -> Iterator[Reading]:
    """Yield the share of every name that is not clear of the lowest level, whoever holds it, by symbol."""
    known = (("warning", monitoring.single_name_warn), ("critical", monitoring.single_name_critical))
    steps = [(severity, level) for severity, level in known if level is not None]
    if not steps:
        return
    severities, levels = zip(*steps, strict=True)
    clear = levels[0] - monitoring.single_name_clear
    totals = _totals(view.positions.symbol, view.positions.values_micro)
    equity_micro = float(view.equity_micro or 0)
    whole = equity_micro if equity_micro > 0.0 else nan
    heavy = {symbol for symbol, total in totals.items() if not total / whole <= clear}
    heavy.update(symbol for rule, symbol in watched if rule == "single_name" and symbol in totals)
    for symbol in sorted(heavy):
        yield Reading(
            "single_name", symbol, totals[symbol] / whole, levels, severities,
            clear_gap=monitoring.single_name_clear,
            inclusive=False,
            positions=_largest(view, view.positions.symbol, symbol),
        )  # fmt: skip


def share(value_micro: float, equity_micro: int | None) -> float:
    """Return a value as a fraction of equity; NaN where equity is unknown or gone."""
    return value_micro / equity_micro if equity_micro is not None and equity_micro > 0 else nan


def _totals(names: Sequence[str], values_micro: Sequence[float]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for name, value in zip(names, values_micro, strict=True):
        totals[name] += abs(value)
    return totals


def _largest(view: PortfolioView, names: Sequence[str], name: str) -> tuple[Contribution, ...]:
    """Return the largest of the positions that have that one of `names`; those of unknown value first."""
    positions = view.positions
    columns = zip(names, positions.values_micro, positions.symbol, strict=True)
    held = [(value, symbol) for its_name, value, symbol in columns if its_name == name]
    held.sort(key=lambda pair: (pair[0] == pair[0], -abs(pair[0]), pair[1]))
    return tuple(Contribution(symbol, value / MICRO) for value, symbol in held[:POSITIONS_SHOWN])
