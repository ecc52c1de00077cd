"""Drawdown of marked equity, cash flows excluded: the episode that is open, carried from close to close.

The portfolio is counted in units, like a fund: a cash flow changes the number of units at the price before
it, so only profit and loss move the price. Without flows there is one unit, and its price is the equity.
Flows count at the end of the interval in which they came: price_t = (E_t - F_t) / units_{t-1}.

An episode (domain specification, section 11): the peak is the last session at the running maximum, the trough
the first session at the lowest price since, the recovery the first price at or above the peak. After a total
loss new money starts a new portfolio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from monitors.alerts import Contribution, Episode
from monitors.view import MICRO

TOP_CONTRIBUTORS = 5


class DrawdownTracker:
    """Streaming state: units, price, peak, trough, and what each symbol had earned at the peak."""

    def __init__(self) -> None:
        self._units = 0.0  # 0 before the first money, and while everything is withdrawn
        self._price = 0.0
        self._equity_micro = 0
        self._flow_micro = 0
        self._peak = 0.0
        self._peak_session = ""
        self._trough = math.inf
        self._trough_session = ""
        self._profits_at_peak: Mapping[str, int] = {}
        self.ended: Episode | None = None  # with the newest close

    @property
    def value(self) -> float:
        """The drawdown, 0 at the peak and before the first money."""
        return 1.0 - self._price / self._peak if self._peak > 0.0 else 0.0

    @property
    def episode(self) -> Episode | None:
        """The open episode, None at the peak."""
        if not self._price < self._peak:
            return None
        return self._told()

    def update(
        self, session: str, equity_micro: int, flow_micro: int, profits_micro: Mapping[str, int]
    ) -> None:
        """Take a close; `ended` is the episode that ends with it.

        `flow_micro` and `profits_micro` are totals since the beginning, as in `PortfolioView`. The
        latter is kept and must not change.
        """
        flow = flow_micro - self._flow_micro
        moved = flow != 0 or equity_micro != self._equity_micro
        self._equity_micro, self._flow_micro = equity_micro, flow_micro
        if self._units > 0.0 and moved:  # Else rounding would move the price
            self._price = (equity_micro - flow) / MICRO / self._units
        self.ended = None
        if self._price <= 0.0 and flow > 0 and equity_micro > 0:  # Everything was lost; this is new money
            self.ended = self.episode
            self._units = self._peak = 0.0
            self._trough = math.inf
        if self._peak == 0.0:
            if equity_micro <= 0:
                return
            self._units, self._price = 1.0, equity_micro / MICRO
        elif (flow or self._units == 0.0) and self._price > 0.0:
            self._units = equity_micro / MICRO / self._price
        self._advance(session, profits_micro)

    def contributors(self, profits_micro: Mapping[str, int]) -> tuple[Contribution, ...]:
        """Return the symbols that lost most since the peak, worst first; those that gained are left out."""
        before = dict(self._profits_at_peak.items())
        lost = [
            (profit - before.get(symbol, 0), symbol)
            for symbol, profit in profits_micro.items()
            if profit < before.get(symbol, 0)
        ]
        return tuple(Contribution(symbol, n / MICRO) for n, symbol in sorted(lost)[:TOP_CONTRIBUTORS])

    def state(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "ended"}
        return state | {"_profits_at_peak": dict(self._profits_at_peak)}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def _advance(self, session: str, profits_micro: Mapping[str, int]) -> None:
        if self._price < self._peak:
            if self._price < self._trough:
                self._trough, self._trough_session = self._price, session
            return
        if self._trough < self._peak:
            self.ended = self._told(recovery_session=session)
        self._peak, self._peak_session = self._price, session
        self._trough, self._trough_session = math.inf, ""
        self._profits_at_peak = profits_micro

    def _told(self, recovery_session: str | None = None) -> Episode:
        units = self._units or 1.0
        return Episode(
            peak_session=self._peak_session,
            peak=self._peak * units,
            trough_session=self._trough_session,
            trough=self._trough * units,
            recovery_session=recovery_session,
        )
