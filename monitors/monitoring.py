"""The monitors of a portfolio behind one call: a view in, what is to be said out.

Deterministic: two instances that saw the same views and commands say the same, under the same keys; and an
instance restored from a saved state goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from math import nan
from typing import Any

from config.settings import Monitoring, Settings
from monitors.alert_book import AlertBook, Background, OpenAlert
from monitors.alerts import RULES, Reading, Severity, Transition, alert_key
from monitors.commands import AlertCommand, Silence
from monitors.concentration import check_limits, name_readings, sector_readings
from monitors.drawdown import DrawdownTracker
from monitors.staleness import degraded_readings, feed_readings, stale_name_readings
from monitors.stops import portfolio_stop_readings, reconciliation_readings, unfilled_stop_readings
from monitors.view import PortfolioView

SUBJECT = "portfolio"


class Monitors:
    """All monitors of one portfolio. Raises ConfigError for limits that would let something pass unseen."""

    def __init__(self, settings: Settings, portfolio: str = "default") -> None:
        check_limits(settings.risk_management)
        self._risk = settings.risk_management
        self._monitoring = settings.monitoring
        self._levels = drawdown_levels(settings.monitoring)
        self._drawdown = DrawdownTracker()
        self._regime = ""
        self._book = AlertBook(portfolio, settings.monitoring)

    def evaluate(self, view: PortfolioView) -> list[Transition]:
        """Take a view; return what is to be said, causes first. The same view again: nothing."""
        if view.equity_micro is not None:
            self._drawdown.update(view.session, view.equity_micro, view.flow_micro, view.profits_micro)

        def background(reading: Reading) -> Background:
            if reading.rule not in ("drawdown", "portfolio_stop"):
                return Background()
            return Background(self._drawdown.episode, self._drawdown.contributors(view.profits_micro))

        said = self._book.advance(self._readings(view), view, background)
        return [*said, *self._regime_change(view)]

    def command(self, command: AlertCommand) -> None:
        """Acknowledge or silence; the next `evaluate` goes by it."""
        self._book.command(command)

    @property
    def open(self) -> list[OpenAlert]:
        """Alerts that are open, worst first."""
        return self._book.open

    @property
    def silences(self) -> tuple[Silence, ...]:
        return self._book.silences

    @property
    def drawdown(self) -> DrawdownTracker:
        return self._drawdown

    def state(self) -> dict[str, Any]:
        """Return everything that outlives a view, as `engine.snapshot` saves it."""
        return {"drawdown": self._drawdown.state(), "regime": self._regime, **self._book.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._drawdown.restore(state["drawdown"])
        self._regime = state["regime"]
        self._book.restore(state)

    def _readings(self, view: PortfolioView) -> Iterator[Reading]:
        yield from feed_readings(view, self._monitoring)  # First: the others are listed under them
        yield from degraded_readings(view, self._monitoring)
        if self._levels:
            yield self._drawdown_reading(view)
        yield from portfolio_stop_readings(view, self._risk)
        yield from unfilled_stop_readings(view)
        yield from reconciliation_readings(view, self._monitoring)
        yield from sector_readings(view, self._risk, self._monitoring)
        yield from name_readings(view, self._monitoring)
        yield from stale_name_readings(view, self._monitoring)

    def _drawdown_reading(self, view: PortfolioView) -> Reading:
        n_named = len(self._monitoring.drawdown_levels)
        severities: list[Severity] = [
            "critical" if i >= n_named - 1 and i > 0 else "warning" for i in range(len(self._levels))
        ]
        return Reading(
            "drawdown", SUBJECT, nan if view.equity_micro is None else self._drawdown.value,
            self._levels, tuple(severities),
            clear_gap=self._monitoring.drawdown_clear,
            detail="" if view.equity_micro is not None else "equity is unknown",
        )  # fmt: skip

    def _regime_change(self, view: PortfolioView) -> list[Transition]:
        """Return the notice of a change of regime. It is over when it is said."""
        before, self._regime = self._regime, view.regime or self._regime
        if not before or before == self._regime:
            return []
        rule = RULES["regime"]
        key = alert_key(self._book.portfolio, "regime", rule.version, "market", view.journal_seq)
        return [
            Transition(
                portfolio=self._book.portfolio, rule="regime", version=rule.version, subject="market",
                episode=view.journal_seq, key=key, label="fired", severity="info", mail=True,
                value=1.0, threshold=1.0, clear_level=1.0, value_fired=1.0, unit=rule.unit,
                detail=f"{before} -> {self._regime}",
                session=view.session, ts_ns=view.ts_ns, detected_ns=view.now_ns, since_ns=view.now_ns,
                since_session=view.session, regime=self._regime, feed_age_s=view.feed_age_s,
                config_hash=view.config_hash,
            )
        ]  # fmt: skip


def drawdown_levels(monitoring: Monitoring) -> tuple[float, ...]:
    """Return the levels of the settings and, beyond the last, one at each further step below 100 %."""
    levels = list(monitoring.drawdown_levels)
    if levels and monitoring.drawdown_step is not None:
        last = levels[-1]
        for k in count(1):
            level = round(last + k * monitoring.drawdown_step, 12)
            if level >= 1.0:
                break
            levels.append(level)
    return tuple(levels)
