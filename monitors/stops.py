"""Stops: those that should have sold and did not, the portfolio's own, and whether the books agree."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from math import copysign, nan

import numpy as np

from config.settings import Monitoring, RiskManagement
from monitors.alerts import Contribution, Reading, Subject
from monitors.concentration import share
from monitors.view import MICRO, PortfolioView

BPS = 10_000.0


def unfilled_stop_readings(view: PortfolioView, watched: Collection[Subject]) -> Iterator[Reading]:
    """Yield how far the close of a lot is past its stop, as a fraction of it, where it is at it or past it.

    The broker sells inside the bar that reaches a stop. A lot held at a close at or below it was not sold:
    there was too little volume, or nobody sells for this portfolio. Of a short position the stop is above.
    """
    held = view.positions
    is_watched = any(rule == "stop_unfilled" for rule, _ in watched)
    if not (is_watched or held.weighed.n_at_stop):
        return
    side = np.copysign(1.0, held.quantity)
    reached = held.has_stop & ~(side * held.mark_usd > side * held.stop_usd)
    if is_watched:
        reached = held.has_stop  # One that is above its stop again may be among them
    for i in np.flatnonzero(reached).tolist():
        symbol, strategy = held.symbol[i], held.strategy[i]
        stop, mark, shares = held.stop_usd[i].item(), held.mark_usd[i].item(), held.quantity[i].item()
        subject = f"{symbol}/{strategy}" if strategy else symbol
        sign = copysign(1.0, shares)
        if sign * mark > sign * stop and ("stop_unfilled", subject) not in watched:
            continue
        past = sign * (stop - mark) / stop if stop != 0.0 else nan
        yield Reading(
            "stop_unfilled", subject, past, (0.0,), ("critical",),
            detail=f"close {mark:,.2f}, stop {stop:,.2f}, {shares:,.10g} shares",
            positions=(Contribution(symbol, held.values_micro[i] / MICRO),),
        )  # fmt: skip


def portfolio_stop_readings(view: PortfolioView, risk: RiskManagement) -> Iterator[Reading]:
    """Yield the drawdown that the portfolio stop goes by, of every account; on while it is not re-armed."""
    if risk.portfolio_stop is None:
        return
    for account in view.accounts:
        fallen = 1.0 - account.equity_micro / account.hwm_micro if account.hwm_micro > 0 else 0.0
        yield Reading(
            "portfolio_stop", account.name, fallen, (risk.portfolio_stop,), ("critical",),
            keep=account.state != "active",
            detail=f"account {account.state}",
        )  # fmt: skip


def reconciliation_readings(view: PortfolioView, monitoring: Monitoring) -> Iterator[Reading]:
    """Yield how far the ledger's equity is from cash and positions valued anew, in basis points of it."""
    if monitoring.reconciliation_bps is None:
        return
    held = view.positions
    counted = view.cash_micro + (held.weighed.value if len(held) else 0)  # Cash alone may be beyond a float
    if view.equity_micro is None:
        off, detail = nan, "equity is unknown"
    elif counted == view.equity_micro:
        off, detail = 0.0, ""
    else:
        off = share(abs(view.equity_micro - counted), view.equity_micro) * BPS
        detail = f"ledger {view.equity_micro / MICRO:,.2f}, counted {counted / MICRO:,.2f}"
    limit = (monitoring.reconciliation_bps,)
    yield Reading("reconciliation", "ledger", off, limit, ("critical",), inclusive=False, detail=detail)
