"""Alerts: the rules, what is said when one fires, and the names under which it is said.

1. An episode of (rule, subject) is numbered by the row of bars in the journal on which it began, never by a
   clock: replays, repeated rows, restarts, reloads and commands in between give the same keys.
2. The key of an alert is hash(portfolio, rule, version, subject, episode); that of a notification adds the
   transition: `KEY.fired`, `KEY.worse-2`, `KEY.repeat-1`, `KEY.resolved`. They are the same too, mailed or
   not; only `KEY.repeat-after-silence-1` is there because of what a person said.
3. A value that is not a number breaches every rule.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from msgspec import Struct, msgpack

Severity = Literal["info", "warning", "critical"]
Unit = Literal["share", "sessions", "bps", "ms", "state"]
Subject = tuple[str, str]  # rule, and what of it: a sector, a symbol, an account
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


class Rule(NamedTuple):
    """What does not depend on settings."""

    title: str
    unit: Unit
    # Mailed again within `min_interval_days` only if it is worse; other rules wait for the repeat interval
    calm: bool = False
    # A cause: never held back for another alert, and others are listed under it
    cause: bool = False
    # Measured on bars: doubtful while the feed is, and never over before the next row
    of_bars: bool = False
    # About this process and what it is connected to: goes by the machine's clock, whatever is replayed
    of_machine: bool = False
    version: int = 1  # grows when the meaning of its subjects or values changes


RULES: dict[str, Rule] = {
    "drawdown": Rule("Drawdown", "share", calm=True, of_bars=True),
    "portfolio_stop": Rule("Portfolio stop", "share", of_bars=True),
    "sector": Rule("Sector concentration", "share", calm=True, of_bars=True),
    "single_name": Rule("Single-name concentration", "share", calm=True, of_bars=True),
    "stop_unfilled": Rule("Stop breached without a fill", "share", of_bars=True),
    "reconciliation": Rule("Reconciliation", "bps", of_bars=True),
    "stale_name": Rule("Stale held name", "sessions", calm=True, of_bars=True),
    "suspected_split": Rule("Suspected split", "state"),
    "regime": Rule("Market regime", "state"),
    "feed": Rule("Data feed", "state", cause=True, of_machine=True),
    "feed_missing": Rule("Bars missing", "share", cause=True),
    "benchmark_missing": Rule("Benchmark missing", "state", cause=True),
    "monitor_degraded": Rule("Monitor degraded", "state", cause=True, of_machine=True),
    "loop_lag": Rule("Monitor slow", "ms", cause=True, of_machine=True),
    "delivery": Rule("Mail not delivered", "state", cause=True, of_machine=True),
}


class Contribution(Struct, frozen=True, array_like=True):
    """What a symbol has to do with an alert: its profit since the peak, or the value held."""

    symbol: str
    amount_usd: float


class Reading(NamedTuple):
    """What a monitor measures of one (rule, subject). More is worse; a NaN breaches."""

    rule: str
    subject: str
    value: float
    levels: tuple[float, ...]  # ascending; passing one is an alert, or a worse one
    severities: tuple[Severity, ...]  # of each level
    clear_gap: float = 0.0  # the episode ends at `levels[0] - clear_gap`
    inclusive: bool = True  # a level is passed by its own value
    keep: bool = False  # breached whatever the value
    detail: str = ""  # one line
    positions: tuple[Contribution, ...] = ()


class Episode(Struct, frozen=True, kw_only=True):
    """A drawdown. Values are dollars, as if the money that is in the portfolio now had always been in it."""

    peak_session: str
    peak: float
    trough_session: str
    trough: float
    recovery_session: str | None = None

    @property
    def depth(self) -> float:
        """As a fraction of the peak."""
        return 1.0 - self.trough / self.peak if self.peak > 0.0 else float("nan")


class Transition(Struct, frozen=True, kw_only=True):
    """One thing said about an alert: it fired, grew worse, is still there, or ended.

    Complete in itself: a mail, a stream message or a line in a list needs nothing else.
    """

    portfolio: str
    rule: str
    version: int
    subject: str
    episode: int  # number of the row of bars on which it began
    key: str
    # "fired", "worse-LEVEL", "unknown" (no number any more), "repeat-N", "repeat-after-silence-N", "resolved"
    # or "noticed"
    label: str
    severity: Severity  # the highest of the episode
    mail: bool
    held_back: str = ""  # why it is not mailed, "" if it is
    inhibited_by: str = ""  # key of the cause under which a mail lists it

    value: float
    threshold: float  # the limit that was passed
    clear_level: float  # the episode ends there
    next_level: float | None = None  # where it grows worse
    previous: float | None = None  # value at the session before
    value_fired: float  # when the episode began
    unit: Unit
    detail: str = ""  # one line

    session: str
    ts_ns: int  # the bar it was seen on
    detected_ns: int  # when it was seen; of a replay, the time of that bar
    since_ns: int  # when the episode was first seen
    since_session: str
    crossings: int = 0  # times it came back over the limit within the episode

    drawdown: Episode | None = None
    contributors: tuple[Contribution, ...] = ()
    positions: tuple[Contribution, ...] = ()  # what is held behind it, dollars
    history: tuple[float, ...] = ()  # the value at past sessions, for the chart
    regime: str = ""
    feed_age_s: float = 0.0
    config_hash: str = ""

    @property
    def notif_key(self) -> str:
        return f"{self.key}.{self.label}"

    @property
    def resolved(self) -> bool:
        return self.label == "resolved"

    @property
    def room(self) -> float | None:
        """How far the value may still go before it is worse; None where it cannot be."""
        return None if self.next_level is None else self.next_level - self.value


def on_or_off(rule: str, subject: str, on: bool, severity: Severity, detail: str = "") -> Reading:
    """Return the reading of a condition that has no measure."""
    return Reading(rule, subject, float(on), (1.0,), (severity,), detail=detail)


def alert_key(portfolio: str, rule: str, version: int, subject: str, episode: int) -> str:
    """Return the id of an alert, 32 hexadecimal digits."""
    told = msgpack.encode((portfolio, rule, version, subject, episode))
    return hashlib.sha256(told).hexdigest()[:32]
