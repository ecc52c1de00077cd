"""How alerts are put into words: values with their units, times in New York, a line or a paragraph per alert.

Text that came from outside (symbols, sectors, details) is made printable and cut before it gets here or here.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from engine.counted import counted
from monitors.alerts import RULES, Contribution, Transition, Unit
from monitors.digest import Item
from reports.mail import printable

_NEW_YORK = ZoneInfo("America/New_York")
_WORDS_MAX = 300  # of any text from outside

# What to look at first, by rule
_ADVICE = {
    "drawdown": "what lost most since the peak, its stops, and whether the regime still allows entries",
    "portfolio_stop": "the queued exits: entries are off until it is armed again",
    "sector": "the positions below; entries into the sector are blocked, nothing is sold for it",
    "single_name": "whether to trim it; entries into the name are blocked, nothing is sold for it",
    "stop_unfilled": "the volume and the news of the day; sell by hand if no order does",
    "reconciliation": "fills and cash flows since the last close that agreed; do not trust sizes until then",
    "stale_name": "whether it is halted, delisted or renamed; its mark and its stop are old",
    "suspected_split": "the company's announcements; the bar is held back until it is explained",
    "regime": "exposure: the label governs entries from the next session on",
    "feed": "the vendor's status and the network; values below are from before",
    "feed_missing": "the vendor's status; decisions of this session rest on the bars that came",
    "benchmark_missing": "the benchmark's symbol and the vendor; the market gate keeps its last label",
    "monitor_degraded": "the log of the monitor and the disk",
    "loop_lag": "what else the machine is doing",
    "delivery": "the mail settings, and the dead letters in the store",
}


# The same for a subject of `monitor_degraded` that is no fault of disk or program
_ADVICE_ON = {
    "kill switch": "who stopped entries and why; halt --resume is the only way back",
    "configuration": "the setting that is named; the old ones stay in force until a reload with good ones",
}


def clean(text: str) -> str:
    """Return text from outside in one printable line of bounded length."""
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= _WORDS_MAX else f"{shown[: _WORDS_MAX - 3]}..."


def number(value: float, unit: Unit) -> str:
    """Return a value as people read it."""
    if not math.isfinite(value):
        return "unknown"
    match unit:
        case "share":
            return f"{value:.1%}"
        case "sessions":
            return counted(round(value), "sessions")
        case "bps":
            return f"{value:,.2f} bp"
        case "ms":
            return f"{value:,.0f} ms"
    return "on" if value else "off"


def dollars(value: float) -> str:
    return "unknown" if not math.isfinite(value) else f"{'-' if value < 0 else ''}${abs(value):,.0f}"


def moment(ts_ns: int) -> str:
    """Return a time in New York, to the second."""
    at = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).astimezone(_NEW_YORK)
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def bar(ts_ns: int) -> str:
    """Return which bar was the newest; 0: there was none yet."""
    return f"bar of {moment(ts_ns)}" if ts_ns else "no bar yet"


def span(ns: int) -> str:
    """Return a duration in its two largest units."""
    minutes = max(ns, 0) // 60_000_000_000
    if minutes < 1:
        return f"{max(ns, 0) // 1_000_000_000} s"
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def headline(one: Transition) -> str:
    """Return an alert in a few words: what, how much, against which limit."""
    rule, subject = RULES[one.rule], clean(one.subject)
    name = rule.title if subject in ("portfolio", "ledger", "feed", "market") else f"{rule.title} {subject}"
    if one.resolved:
        return f"{name}: over"
    if rule.unit == "state":
        return f"{name}: {clean(one.detail)}" if one.detail else name
    if one.rule == "stop_unfilled":
        return f"{name}: {number(one.value, one.unit)} past its stop"
    return f"{name}: {number(one.value, one.unit)}, limit {number(one.threshold, one.unit)}"


def state_word(one: Transition) -> str:
    """Return what happened to the alert."""
    if one.label.startswith("repeat"):
        return "still open"
    if one.label.startswith("worse"):
        return "worse"
    return {"fired": "new", "resolved": "over", "noticed": "new", "unknown": "unknown"}[one.label]


def facts(item: Item) -> list[tuple[str, str]]:
    """Return what there is to know about an alert, as (name, text)."""
    one = item.newest
    measured = one.unit != "state"
    found = [
        ("was", _before(one) if measured else ""),
        ("since", _since(one)),
        ("limits", _limits(one) if measured and not one.resolved else ""),
        ("detail", clean(one.detail) if measured else ""),
        ("peak", _peak(one)),
        ("lost most", _amounts(one.contributors)),
        ("positions", _amounts(one.positions)),
        ("regime", clean(one.regime)),
        ("look at", "" if one.resolved else _ADVICE_ON.get(one.subject, _ADVICE[one.rule])),
        ("seen", f"{bar(one.ts_ns)}, detected {moment(one.detected_ns)}"),
        ("before", _earlier(item)),
        ("data", f"{span(round(one.feed_age_s * 1e9))} old" if one.feed_age_s > 0 else ""),
        ("settings", one.config_hash[:12]),
    ]
    return [(name, text) for name, text in found if text]


def _earlier(item: Item) -> str:
    """Return what else happened to the alert since the mail before, with its times; reminders as a number."""
    steps = item.transitions[:-1]
    told = [f"{one.label} {moment(one.detected_ns)}" for one in steps if not one.label.startswith("repeat")]
    n_reminders = len(steps) - len(told)
    return ", ".join([*told, *([f"{n_reminders} reminders"] if n_reminders else [])])


def _before(one: Transition) -> str:
    parts = []
    if one.previous is not None:
        parts.append(f"{number(one.previous, one.unit)} at the session before ({_trend(one)})")
    if one.label not in ("fired", "noticed"):
        parts.append(f"{number(one.value_fired, one.unit)} when it began")
    return ", ".join(parts)


def _trend(one: Transition) -> str:
    if one.previous is None or not math.isfinite(one.value - one.previous):
        return "trend unknown"
    change = one.value - one.previous
    if abs(change) < 1e-12:
        return "unchanged"
    return "rising" if change > 0 else "falling"


def _since(one: Transition) -> str:
    if one.label == "noticed":
        return ""
    crossed = f", crossed {one.crossings} times since" if one.crossings else ""
    if one.detected_ns == one.since_ns:
        return moment(one.since_ns)
    return f"{moment(one.since_ns)}, {span(one.detected_ns - one.since_ns)} in the band{crossed}"


def _limits(one: Transition) -> str:
    parts = []
    if one.next_level is not None:
        room = "unknown" if one.room is None or not math.isfinite(one.room) else _room(one.room, one.unit)
        parts.append(f"worse at {number(one.next_level, one.unit)} ({room} left)")
    parts.append(f"over at {number(max(one.clear_level, 0.0), one.unit)}")
    return ", ".join(parts)


def _room(room: float, unit: Unit) -> str:
    return f"{room * 100:.1f} points" if unit == "share" else number(room, unit)


def _peak(one: Transition) -> str:
    if one.drawdown is None:
        return ""
    episode = one.drawdown
    return (
        f"{episode.peak:,.2f} on {episode.peak_session}, trough {episode.trough:,.2f} on"
        f" {episode.trough_session} ({-episode.depth:.1%})"
    )


def _amounts(amounts: tuple[Contribution, ...]) -> str:
    return ", ".join(f"{clean(one.symbol)} {dollars(one.amount_usd)}" for one in amounts)
