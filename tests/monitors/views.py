"""Views of made-up portfolios, day by day."""

from __future__ import annotations

from datetime import date, timedelta

from config.settings import Monitoring, RiskManagement, Settings
from monitors.view import MICRO, PortfolioView, Position, Positions

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
START_NS = 1_704_229_200_000_000_000  # 2024-01-02 16:00 in New York


def session_of(day: int) -> str:
    return (date(2024, 1, 2) + timedelta(days=day)).isoformat()


def view(day: int, equity_usd: float | None, *, hour: float = 0.0, seq: int | None = None, **changes):
    """Return the portfolio `day` days after the start, all in cash unless told otherwise."""
    now_ns = START_NS + day * DAY_NS + round(hour * HOUR_NS)
    equity_micro = None if equity_usd is None else round(equity_usd * MICRO)
    positions = changes["positions"] = Positions.of(changes.get("positions", ()))
    known = {
        "row_seq": day if seq is None else seq,
        "now_ns": now_ns,
        "ts_ns": START_NS + day * DAY_NS,
        "session": session_of(day),
        "equity_micro": equity_micro,
        "cash_micro": (equity_micro or 0)
        - sum(round(value) for value in positions.values_micro if value == value),
    }
    return PortfolioView(**{**known, **changes})


def position(symbol="ACME", value_usd=1000.0, **changes):
    """Return a position of 100 shares."""
    known = {
        "symbol": symbol, "strategy": "", "sector": "biotech", "quantity": 100.0, "cost_usd": value_usd,
        "mark_usd": value_usd / 100, "stop_usd": None, "missed_sessions": 0, "ts_last_bar_ns": START_NS,
    }  # fmt: skip
    return Position(**{**known, **changes})


def settings(*, sector_limits=None, **monitoring):
    """Return settings with wide limits except for those given."""
    quiet = {"single_name_warn": None, "single_name_critical": None}
    return Settings(
        monitoring=Monitoring(**{**quiet, **monitoring}),
        risk_management=RiskManagement(sector_limits=sector_limits),
    )


def labels(transitions):
    return [(one.rule, one.subject, one.label, one.mail) for one in transitions]
