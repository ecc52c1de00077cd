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
from monitors.alert_book import AlertBook, Background
from monitors.alerts import Reading, Severity, Transition
from monitors.concentration import check_limits, name_readings, sector_readings
from monitors.drawdown import DrawdownTracker
from monitors.listing import Listing
from monitors.silences import Silence
from monitors.staleness import degraded_readings, feed_readings, stale_name_readings
from monitors.stops import portfolio_stop_readings, reconciliation_readings, unfilled_stop_readings
from monitors.view import PortfolioView

SUBJECT = "portfolio"
NS_MAX = 2**63 - 1


class Monitors:
    """All monitors of one portfolio. Raises ConfigError for limits that would let something pass unseen."""

    def __init__(self, settings: Settings, portfolio: str = "default") -> None:
        check_limits(settings.risk_management)
        self._risk = settings.risk_management
        self._monitoring = settings.monitoring
        self._levels = drawdown_levels(settings.monitoring)
        n_warnings = max(len(settings.monitoring.drawdown_levels) - 1, 1)
        self._severities: tuple[Severity, ...] = tuple(
            "warning" if i < n_warnings else "critical" for i in range(len(self._levels))
        )
        self._drawdown = DrawdownTracker()
        self._regime = ""
        self._now_ns = 0
        self._replayed_to_ns: int | None = None
        self._book = AlertBook(portfolio, settings.monitoring)

    def evaluate(self, view: PortfolioView) -> list[Transition]:
        """Take a view; return what is to be said, causes first. The same view again: nothing."""
        self._now_ns = view.now_ns
        self._replayed_to_ns = view.ts_ns if view.replayed else None
        if view.equity_micro is not None:
            self._drawdown.update(view.session, view.equity_micro, view.flow_micro, view.profits_micro)

        def background(reading: Reading) -> Background:
            if reading.rule not in ("drawdown", "portfolio_stop"):
                return Background()
            return Background(self._drawdown.episode, self._drawdown.contributors(view.profits_micro))

        said = self._book.advance(self._readings(view), view, background)
        return [*said, *self._regime_change(view)]

    def command(self, name: str, arguments: Mapping[str, str]) -> None:
        """Apply `ack` (key), `silence` (rule, subject, until_ns, reason) or `unsilence` (rule, subject).

        The next `evaluate` goes by it. What names nothing that is known has no effect.
        """
        rule, subject = arguments.get("rule", ""), arguments.get("subject", "*")
        until_ns = arguments.get("until_ns", "")
        if name == "ack":
            self._book.acknowledge(arguments.get("key", ""))
        elif name == "silence" and rule and until_ns.isdecimal() and len(until_ns) < 20:
            reason = arguments.get("reason", "")
            self._book.silences.add(Silence(rule, subject, min(int(until_ns), NS_MAX), reason))
        elif name == "unsilence":
            self._book.silences.end(rule, subject)

    @property
    def listing(self) -> Listing:
        """The open alerts, worst first, and the silences: for `monitors.listing.save`."""
        silences = list(self._book.silences.held)
        return Listing(self._now_ns, self._book.open, silences, self._replayed_to_ns)

    @property
    def drawdown(self) -> DrawdownTracker:
        return self._drawdown

    def state(self) -> dict[str, Any]:
        """Return everything that outlives a view, as `engine.snapshot` saves it."""
        return {
            "drawdown": self._drawdown.state(),
            "regime": self._regime,
            "now_ns": self._now_ns,
            "replayed_to_ns": self._replayed_to_ns,
            **self._book.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._drawdown.restore(state["drawdown"])
        self._regime, self._now_ns = state["regime"], state["now_ns"]
        self._replayed_to_ns = state.get("replayed_to_ns")
        self._book.restore(state)

    def _readings(self, view: PortfolioView) -> Iterator[Reading]:
        watched = self._book.watched
        yield from feed_readings(view, self._monitoring)  # First: the others are listed under them
        yield from degraded_readings(view, self._monitoring)
        if view.ts_ns == 0:
            return  # Not one row yet: nothing could be known, and an "unknown" would hide the first value
        if self._levels:
            yield self._drawdown_reading(view)
        yield from portfolio_stop_readings(view, self._risk)
        yield from unfilled_stop_readings(view, watched)
        yield from reconciliation_readings(view, self._monitoring)
        yield from sector_readings(view, watched, self._risk, self._monitoring)
        yield from name_readings(view, watched, self._monitoring)
        yield from stale_name_readings(view, watched, self._monitoring)

    def _drawdown_reading(self, view: PortfolioView) -> Reading:
        return Reading(
            "drawdown", SUBJECT, nan if view.equity_micro is None else self._drawdown.value,
            self._levels, self._severities,
            clear_gap=self._monitoring.drawdown_clear,
            detail="" if view.equity_micro is not None else "equity is unknown",
        )  # fmt: skip

    def _regime_change(self, view: PortfolioView) -> list[Transition]:
        before, self._regime = self._regime, view.regime or self._regime
        if not before or before == self._regime or view.catching_up:
            return []
        return [self._book.notice("regime", "market", f"{before} -> {self._regime}", view)]


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
