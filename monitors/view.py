"""What the monitors see: the portfolio at one moment, as plain values, and nothing else.

A view is made for every event that may change an alert: a row of bars, a change of the feed, a timer tick.
Two equal views say the same, so evaluating one twice changes nothing. Money is int64 micro-dollars, prices
are float64 dollars. What is not known is None or NaN, and the monitors treat that as a breach.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from types import MappingProxyType
from typing import Literal, NamedTuple

MICRO = 1_000_000
VALUE_MICRO_MAX = 2.0**63  # what the ledger can hold; false for NaN
NO_PROFITS: Mapping[str, int] = MappingProxyType({})

FeedState = Literal["connected", "stale", "down"]
AccountState = Literal["active", "halted", "cooldown"]


class Position(NamedTuple):
    """One lot: a symbol held by a strategy ("" in a watched portfolio)."""

    symbol: str
    strategy: str
    sector: str  # the name that limits go by (`risk.sectors.sector_key`)
    quantity: float  # shares
    cost_usd: float  # of the shares held, without fees
    mark_usd: float  # newest close; NaN where there is none
    stop_usd: float | None  # None: the lot has no stop
    missed_sessions: int  # complete sessions since its newest bar
    ts_last_bar_ns: int  # 0: never a bar

    @property
    def value_micro(self) -> float:
        """Micro-dollars, a whole number; NaN where the mark is."""
        value = self.quantity * self.mark_usd * MICRO
        return float(round(value)) if abs(value) < VALUE_MICRO_MAX else nan


class Account(NamedTuple):
    """An account with a portfolio stop of its own."""

    name: str
    state: AccountState
    equity_micro: int
    hwm_micro: int  # the high-water mark that the stop goes by


class Condition(NamedTuple):
    """Something wrong that its owner (feed, daemon) reports and withdraws; an alert while it is listed."""

    rule: Literal["monitor_degraded", "suspected_split", "delivery"]
    subject: str
    detail: str  # one line


class PortfolioView(NamedTuple):
    """The portfolio as of `ts_ns`."""

    row_seq: int  # rows of bars taken, the newest included; numbers the episodes
    now_ns: int  # the clock's reading that was journalled with the event
    ts_ns: int  # newest complete row; when its values were known
    session: str  # of that row, 2026-11-20
    equity_micro: int | None
    cash_micro: int
    positions: tuple[Position, ...] = ()
    flow_micro: int = 0  # external cash paid in, less paid out, since the beginning
    profits_micro: Mapping[str, int] = NO_PROFITS  # by symbol, realised and not, since the beginning
    accounts: tuple[Account, ...] = ()
    n_expected: int = 0  # symbols that should have a bar in this session by now
    missing: tuple[str, ...] = ()  # those of them that have none; empty while the session is young
    benchmark: str = ""  # "" for none
    benchmark_present: bool = True
    regime: str = ""  # of the market, "" where unknown
    feed: FeedState = "connected"
    feed_detail: str = ""
    feed_age_s: float = 0.0  # since the feed last said anything
    loop_lag_ms: float = 0.0  # worst since the view before
    conditions: tuple[Condition, ...] = ()
    config_hash: str = ""
