"""Concentration: what sectors and single names are of the portfolio's equity.

The limits go by equity, cash included, as those of the gate do. The share of what is invested, which the
original tool went by, is told beside it: the two differ whenever cash is held. A short position counts by its
size: it makes no room for a long one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import nan

from config.settings import Monitoring, RiskManagement
from engine.errors import ConfigError
from monitors.alerts import Contribution, Reading, Subject
from monitors.view import MICRO, PortfolioView, Texts

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
    sectors = view.positions.sector
    totals = view.positions.weighed.by_sector.tolist()
    for sector, number in sorted((sectors.table[number], number) for number in set(sectors.numbers.tolist())):
        limit = limits.get(sector, limits[OTHER])
        if limit is None:
            continue
        of_equity = share(totals[number], view.equity_micro)
        if of_equity <= limit - monitoring.sector_clear and ("sector", sector) not in watched:
            continue
        invested = sum(map(abs, view.positions.values_micro))
        of_invested = f"{totals[number] / invested:.1%}" if invested > 0 else "an unknown share"
        yield Reading(
            "sector", sector, of_equity, (limit,), ("warning",),
            clear_gap=monitoring.sector_clear,
            inclusive=False,
            detail=f"{of_invested} of what is invested",
            positions=_largest(view, sectors, number),
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
    equity_micro = float(view.equity_micro or 0)
    whole = equity_micro if equity_micro > 0.0 else nan
    symbols = view.positions.symbol
    weighed = view.positions.weighed
    open_ones = {symbol for rule, symbol in watched if rule == "single_name"}
    if weighed.largest / whole <= clear and not open_ones:
        return
    shares = weighed.by_symbol / whole
    heavy = {
        number
        for number in symbols.numbers.tolist()
        if not shares[number] <= clear or symbols.table[number] in open_ones
    }
    for symbol, number in sorted((symbols.table[number], number) for number in heavy):
        yield Reading(
            "single_name", symbol, shares[number].item(), levels, severities,
            clear_gap=monitoring.single_name_clear,
            inclusive=False,
            positions=_largest(view, symbols, number),
        )  # fmt: skip


def share(value_micro: float, equity_micro: int | None) -> float:
    """Return a value as a fraction of equity; NaN where equity is unknown or gone."""
    return value_micro / equity_micro if equity_micro is not None and equity_micro > 0 else nan


def _largest(view: PortfolioView, names: Texts, number: int) -> tuple[Contribution, ...]:
    """Return the largest of the positions under one of the names; those of unknown value first."""
    positions = view.positions
    columns = zip(names.numbers.tolist(), positions.values_micro, positions.symbol, strict=True)
    held = [(value, symbol) for its_number, value, symbol in columns if its_number == number]
    held.sort(key=lambda pair: (pair[0] == pair[0], -abs(pair[0]), pair[1]))
    return tuple(Contribution(symbol, value / MICRO) for value, symbol in held[:POSITIONS_SHOWN])
