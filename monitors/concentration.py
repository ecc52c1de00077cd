"""Concentration: what sectors and single names are of the portfolio's equity.

The limits go by equity, cash included, as those of the gate do. The share of what is invested, which the
original tool went by, is told beside it: the two differ whenever cash is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan

from config.settings import Monitoring, RiskManagement
from engine.errors import ConfigError
from monitors.alerts import Contribution, Reading
from monitors.view import MICRO, PortfolioView, Position

OTHER = "other"
POSITIONS_SHOWN = 10


def check_limits(risk: RiskManagement) -> None:
    """Raise ConfigError for limits under which an unknown sector would pass unlimited by accident."""
    if risk.sector_limits is not None and OTHER not in risk.sector_limits:
        raise ConfigError("risk_management.sector_limits: needs a limit for 'other' (null switches it off)")


def sector_readings(view: PortfolioView, risk: RiskManagement, monitoring: Monitoring) -> Iterator[Reading]:
    """Yield the share of every sector held that has a limit, in order of name."""
    limits = risk.sector_limits
    if limits is None:
        return
    invested = sum(position.value_micro for position in view.positions)
    for sector, held in _grouped(view.positions, "sector").items():
        limit = limits.get(sector, limits[OTHER])
        if limit is None:
            continue
        value = sum(position.value_micro for position in held)
        yield Reading(
            "sector", sector, share(value, view.equity_micro), (limit,), ("warning",),
            clear_gap=monitoring.sector_clear,
            inclusive=False,
            detail=f"{value / invested:.1%} of what is invested" if invested > 0 else "a value is unknown",
            positions=_largest(held),
        )  # fmt: skip


def name_readings(view: PortfolioView, monitoring: Monitoring) -> Iterator[Reading]:
    """Yield the share of every name held, whoever holds it, in order of symbol."""
    known = (("warning", monitoring.single_name_warn), ("critical", monitoring.single_name_critical))
    steps = [(severity, level) for severity, level in known if level is not None]
    if not steps:
        return
    severities, levels = zip(*steps, strict=True)
    for symbol, held in _grouped(view.positions, "symbol").items():
        value = sum(position.value_micro for position in held)
        yield Reading(
            "single_name", symbol, share(value, view.equity_micro), levels, severities,
            clear_gap=monitoring.single_name_clear,
            inclusive=False,
            detail=f"sector {held[0].sector}",
            positions=_largest(held),
        )  # fmt: skip


def share(value_micro: float, equity_micro: int | None) -> float:
    """Return a value as a fraction of equity; NaN where equity is unknown or gone."""
    return value_micro / equity_micro if equity_micro is not None and equity_micro > 0 else nan


def _grouped(positions: Sequence[Position], name: str) -> Mapping[str, list[Position]]:
    groups: dict[str, list[Position]] = {}
    for position in positions:
        groups.setdefault(getattr(position, name), []).append(position)
    return dict(sorted(groups.items()))


def _largest(held: Sequence[Position]) -> tuple[Contribution, ...]:
    # A value that is unknown is the first to look at
    ordered = sorted(held, key=lambda one: (one.value_micro == one.value_micro, -one.value_micro, one.symbol))
    return tuple(Contribution(one.symbol, one.value_micro / MICRO) for one in ordered[:POSITIONS_SHOWN])
