"""Rules between settings: what each setting allows alone but not together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from config.settings import Email, Monitoring, Schedule, Settings


class Conflict(NamedTuple):
    """Settings that cannot stand together, and the rule that they break."""

    paths: tuple[str, ...]
    problem: str


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """Yield every broken rule, in the order of the sections."""
    yield from _email(settings.email)
    warnings = settings.risk_management.drawdown_warnings
    yield from _ascending("risk_management.drawdown_warnings", warnings)
    if not any(settings.strategy_weights.values()):
        yield Conflict(("strategy_weights",), "expected at least one weight > 0, got none")
    yield from _at_most(
        ("data_sources.backoff_seconds", settings.data_sources.backoff_seconds),
        ("data_sources.backoff_seconds_max", settings.data_sources.backoff_seconds_max),
    )
    yield from _at_most(
        ("universe_criteria.market_cap_min", settings.universe_criteria.market_cap_min),
        ("universe_criteria.market_cap_max", settings.universe_criteria.market_cap_max),
    )
    yield from _schedule("automation.scan", settings.automation.scan)
    yield from _schedule("automation.fundamentals_refresh", settings.automation.fundamentals_refresh)
    yield from _costs(settings)
    yield from _monitoring(settings.monitoring)
    stream, monitor = settings.stream, settings.monitor
    yield from _together("stream.key_file", stream.key_file, "stream.clients_dir", stream.clients_dir)
    yield from _together(
        "monitor.bars_key_file", monitor.bars_key_file, "monitor.bars_server_key", monitor.bars_server_key
    )


def _email(email: Email) -> Iterator[Conflict]:
    if email.enabled:
        for key in ("smtp_server", "sender", "recipients"):
            if not getattr(email, key):
                problem = f"email.{key} must be set while email.enabled is true, was empty"
                yield Conflict(("email.enabled", f"email.{key}"), problem)
    if email.security == "none" and email.password is not None:
        problem = "email.security must be starttls or tls when there is a password, was none"
        yield Conflict(("email.security", "email.password"), problem)


def _costs(settings: Settings) -> Iterator[Conflict]:
    if settings.backtest.costs == "realistic":
        for key in ("half_spread_bps", "impact_coefficient"):
            if value := getattr(settings.backtest, key):
                problem = f"backtest.{key} must be 0 while backtest.costs is realistic, was {value:g}"
                yield Conflict(("backtest.costs", f"backtest.{key}"), problem)


def _monitoring(monitoring: Monitoring) -> Iterator[Conflict]:
    levels = monitoring.drawdown_levels
    yield from _ascending("monitoring.drawdown_levels", levels)
    for low, high in (
        ("single_name_warn", "single_name_critical"),
        ("stale_warn_sessions", "stale_critical_sessions"),
        ("feed_missing_clear", "feed_missing"),
    ):
        yield from _at_most(
            (f"monitoring.{low}", getattr(monitoring, low)),
            (f"monitoring.{high}", getattr(monitoring, high)),
        )
    if levels and monitoring.drawdown_clear >= levels[0]:
        problem = (
            f"monitoring.drawdown_clear must be < the first of monitoring.drawdown_levels ({levels[0]:g}),"
            f" was {monitoring.drawdown_clear:g}"
        )
        yield Conflict(("monitoring.drawdown_clear", "monitoring.drawdown_levels"), problem)


def _together(one: str, value: str | None, other: str, other_value: str | None) -> Iterator[Conflict]:
    if (value is None) != (other_value is None):
        given, missing = (other, one) if value is None else (one, other)
        yield Conflict((given, missing), f"{missing} must be set with {given}, was null")


def _at_most(low: tuple[str, float | None], high: tuple[str, float | None]) -> Iterator[Conflict]:
    if low[1] is not None and high[1] is not None and low[1] > high[1]:
        yield Conflict(
            (low[0], high[0]),
            f"{low[0]} must be <= {high[0]} ({high[1]:.12g}), was {low[1]:.12g}",
        )


def _ascending(path: str, values: Sequence[float]) -> Iterator[Conflict]:
    if any(a >= b for a, b in pairwise(values)):
        shown = ", ".join(f"{value:g}" for value in values)
        yield Conflict((path,), f"expected ascending levels, got {shown}")


def _schedule(path: str, schedule: Schedule) -> Iterator[Conflict]:
    if schedule.timezone in ("America/New_York", "UTC"):
        return
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(schedule.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problem = f"expected a time zone such as America/New_York, got {schedule.timezone}"
        yield Conflict((f"{path}.timezone",), problem)
