"""Staleness: held names without a bar, a feed that is silent or full of holes, a monitor that lags."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from config.settings import Monitoring
from engine.counted import counted
from monitors.alerts import Reading, Subject, on_or_off
from monitors.view import PortfolioView

_FEED = {"connected": 0.0, "stale": 1.0, "down": 2.0}
_NAMES_SHOWN = 10


def stale_name_readings(
    view: PortfolioView, watched: Collection[Subject], monitoring: Monitoring
) -> Iterator[Reading]:
    """Yield how many sessions a held name has gone without a bar, where it lacks one."""
    known = (
        ("warning", monitoring.stale_warn_sessions),
        ("critical", monitoring.stale_critical_sessions),
    )
    steps = [(severity, float(level)) for severity, level in known if level is not None]
    if not steps:
        return
    severities, levels = zip(*steps, strict=True)
    held = view.positions
    open_ones = {symbol for rule, symbol in watched if rule == "stale_name"}
    if not (open_ones or held.weighed.n_without_bar):
        return
    missed = dict(zip(held.symbol, held.missed_sessions.tolist(), strict=True))
    stale = {symbol for symbol, sessions in missed.items() if sessions > 0 or symbol in open_ones}
    for symbol in sorted(stale):
        sessions = missed[symbol]
        # Only a fresh bar ends it
        yield Reading("stale_name", symbol, float(sessions), levels, severities, clear_gap=levels[0])


def feed_readings(view: PortfolioView, monitoring: Monitoring) -> Iterator[Reading]:
    """Yield the state of the feed, the share of the universe without a bar, and the benchmark."""
    yield Reading(
        "feed", "feed", _FEED[view.feed], (1.0, 2.0), ("warning", "critical"),
        clear_gap=1.0,
        detail=f"{view.feed}: {view.feed_detail}" if view.feed_detail else view.feed,
    )  # fmt: skip
    if monitoring.feed_missing is not None:
        missing = len(view.missing) / view.n_expected if view.n_expected else 0.0
        yield Reading(
            "feed_missing", "universe", missing, (monitoring.feed_missing,), ("critical",),
            clear_gap=monitoring.feed_missing - monitoring.feed_missing_clear,
            inclusive=False,
            detail=_missing(view),
        )  # fmt: skip
    if view.benchmark:
        absent = not view.benchmark_present
        yield on_or_off("benchmark_missing", view.benchmark, absent, "critical", "no bar in this session")


def degraded_readings(view: PortfolioView, monitoring: Monitoring) -> Iterator[Reading]:
    """Yield what the monitor says of itself."""
    if monitoring.loop_lag_ms is not None:
        yield Reading("loop_lag", "event loop", view.loop_lag_ms, (monitoring.loop_lag_ms,), ("critical",))
    for condition in sorted(view.conditions):
        yield on_or_off(condition.rule, condition.subject, True, "critical", condition.detail)


def _missing(view: PortfolioView) -> str:
    names = ", ".join(view.missing[:_NAMES_SHOWN])
    more = len(view.missing) - _NAMES_SHOWN
    listed = f": {names}" + (f" and {more:,} more" if more > 0 else "") if names else ""
    return f"{len(view.missing):,} of {counted(view.n_expected, 'symbols')}{listed}"
