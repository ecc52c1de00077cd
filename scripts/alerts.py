"""`alerts`: what the live monitor has open, and what a person tells it about that.

The list is read from the store, whether the monitor runs or not. Everything else is left as a command that
the monitor takes as its next input; one that does not run takes it when it starts.
"""

from __future__ import annotations

import json as jsonlib
import math
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from config.loader import load_settings
from engine.errors import DataError, SmallcapError
from monitors import heartbeat, listing
from monitors.alerts import RULES
from monitors.episodes import OpenAlert
from monitors.listing import Listing
from monitors.silences import Silence
from monitors.wording import bar, clean, moment, number, span
from scripts.store import readable, store_dir, submit
from scripts.tables import console, print_line
from storage import commands

DONE, FAILURE = 0, 1
_UNITS = {"m": 60, "h": 3_600, "d": 86_400}
_UNTIL_MAX_S = 366 * 86_400


class AlertsError(SmallcapError):
    """What was asked for cannot be done: no such alert, rule or duration."""

    exit_code = 2


def store_of(store: Path | None, settings_path: Path | None, defaults_path: Path | None) -> Path:
    """Return the folder of the store: as given, or that of the settings."""
    return store or store_dir(load_settings(settings_path, defaults_path))


def list_alerts(store: Path, *, json: bool) -> int:
    """Print what is open and what is silenced."""
    now_ns = time.time_ns()
    found = _listing(store)
    silences = [one for one in found.silences if one.until_ns > now_ns]
    if json:
        told = {
            "as_of_ns": found.ts_ns,
            "replayed_to_ns": found.replayed_to_ns,
            "alerts": [_alert_dict(one) for one in found.alerts],
            "silences": [_silence_dict(one) for one in silences],
        }
        print(jsonlib.dumps(told, indent=2))
        return DONE
    if not found.alerts:
        print_line("no alert is open")
    else:
        _print_table(found, now_ns)
    for silence in silences:
        what = "everything" if (silence.rule, silence.subject) == ("*", "*") else _silenced(silence)
        reason = f" ({clean(silence.reason)})" if silence.reason else ""
        print_line(f"silenced: {what} until {moment(silence.until_ns)}{reason}")
    if found.replayed_to_ns:
        print_line(f"a replay, at the {bar(found.replayed_to_ns)}: what rests on bars is dated by them")
    if found.ts_ns:
        print_line(f"as of {moment(found.ts_ns)}, {span(now_ns - found.ts_ns)} ago")
    return DONE


def acknowledge(store: Path, key: str) -> int:
    """Stop the reminders of an open alert, named by the beginning of its key."""
    found = [one for one in _listing(store).alerts if key and one.key.startswith(key.lower())]
    if not found:
        raise AlertsError(f"{key}: no open alert has a key that begins so; see: alerts list")
    if len(found) > 1:
        raise AlertsError(f"{key}: {len(found)} open alerts have keys that begin so; give more letters")
    one = found[0]
    submit(store, "ack", {"key": one.key})
    print_line(f"acknowledged: {_name(one)}; reminders stop until it grows worse")
    return DONE


def silence(store: Path, rule: str, subject: str, duration: str, reason: str) -> int:
    """Mail nothing about a rule and subject for a while."""
    rule = _rule(rule)
    known = {one.subject.lower() for one in _listing(store).alerts if rule in ("*", one.rule)}
    until_ns = time.time_ns() + _seconds(duration) * 1_000_000_000
    arguments = {"rule": rule, "subject": subject, "until_ns": str(until_ns), "reason": reason}
    submit(store, "silence", arguments)
    silenced = _silenced(Silence(rule, subject, until_ns, reason))
    print_line(f"silenced: {silenced} until {moment(until_ns)}; it is recorded all the same")
    if subject.lower() not in ("*", *known):
        near = get_close_matches(subject.lower(), known, n=1, cutoff=0.5)
        hint = f"; did you mean {clean(near[0])}?" if near else ""
        print_line(f"no alert of {clean(subject)} is open now{hint}")
    return DONE


def unsilence(store: Path, rule: str, subject: str) -> int:
    """End a silence."""
    rule = _rule(rule)
    given = [*_listing(store).silences, *_silences_waiting(store)]
    if not any(one.is_of(rule, subject) for one in given):
        raise AlertsError(f"{rule} {subject}: no such silence; see: alerts list")
    submit(store, "unsilence", {"rule": rule, "subject": subject})
    print_line(f"no longer silenced: {_silenced(Silence(rule, subject, 0, ''))}")
    return DONE


def _silences_waiting(store: Path) -> Iterator[Silence]:
    """Yield the silences that no monitor has taken yet."""
    for path in commands.waiting(store):
        with suppress(DataError):  # Taken meanwhile, or none: the monitor tells of that
            left = commands.load(path)
            if left.name == "silence":
                yield Silence(left.arguments.get("rule", ""), left.arguments.get("subject", ""), 0, "")


def check_heartbeat(store: Path) -> int:
    """Print what is wrong with the monitor, judged from outside."""
    problems = heartbeat.check(store / heartbeat.FILE, time.time_ns())
    for problem in problems or ("well",):
        print_line(clean(problem))
    return FAILURE if problems else DONE


def _listing(store: Path) -> Listing:
    with readable(store) as connection:
        return listing.load(connection)


def _rule(name: str) -> str:
    rule = name.lower().replace("-", "_")
    if rule in ("*", "all"):
        return "*"
    if rule not in RULES:
        near = get_close_matches(rule, RULES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"rules are {', '.join(RULES)}, or all"
        raise AlertsError(f"{name}: no such rule; {hint}")
    return rule


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,5})([mhd])", text.strip().lower())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= _UNTIL_MAX_S:
        raise AlertsError(
            f"--for must be minutes, hours or days up to a year, as 30m, 4h or 2d; was {text!r}"
        )
    return seconds


def _name(one: OpenAlert) -> str:
    return f"{RULES[one.rule].title} {clean(one.subject)}"


def _silenced(one: Silence) -> str:
    rule = "every rule" if one.rule == "*" else one.rule
    return rule if one.subject == "*" else f"{rule} {clean(one.subject)}"


def _print_table(found: Listing, now_ns: int) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=console().width)
    for title in ("key", "", "alert"):
        table.add_column(
            title, no_wrap=title != "alert", overflow="fold", ratio=1 if title == "alert" else None
        )
    for title in ("value", "limit", "since"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found.alerts:
        unit = RULES[one.rule].unit
        newest_ns = now_ns if RULES[one.rule].of_machine else found.replayed_to_ns or now_ns
        measured = unit != "state"
        marks = [_name(one), *([clean(one.detail)] if one.detail and not measured else [])]
        marks += ["acknowledged"] if one.acknowledged else []
        marks += ["clearing"] if one.clearing_ns is not None else []
        marks += [] if one.mailed_open else ["not mailed"]
        table.add_row(
            one.key[:8],
            one.severity,
            ", ".join(marks),
            number(one.value, unit) if measured else "",
            number(one.threshold, unit) if measured else "",
            span(newest_ns - one.since_ns),
        )
    console().print(table)


def _alert_dict(one: OpenAlert) -> dict[str, Any]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "key": one.key,
        "rule": one.rule,
        "subject": one.subject,
        "severity": one.severity,
        "value": finite(one.value),
        "limit": finite(one.threshold),
        "clear_level": finite(one.clear_level),
        "detail": one.detail,
        "since_ns": one.since_ns,
        "since_session": one.since_session,
        "clearing": one.clearing_ns is not None,
        "acknowledged": one.acknowledged,
        "mailed": one.mailed_open,
    }


def _silence_dict(one: Silence) -> dict[str, Any]:
    return {"rule": one.rule, "subject": one.subject, "until_ns": one.until_ns, "reason": one.reason}
