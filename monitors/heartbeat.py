"""Signs of life for an observer outside the process: a small file every few minutes, a mail once a day.

A monitor that hangs, dies or cannot write leaves an old file; one that cannot mail, or whose feed is silent,
says so in it. Whoever looks needs only the file's age and whether `problems` is empty: `alerts check` does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from engine.clock import Clock
from engine.counted import counted
from monitors.alerts import RULES
from monitors.listing import Listing
from monitors.relay import Daily
from monitors.wording import bar, clean, dollars, moment, number, span

FILE = "heartbeat.json"


class Heartbeat(Struct, frozen=True, kw_only=True):
    """How the monitor is at one moment."""

    ts_ns: int
    journal_seq: int
    journal_hash: str
    interval_s: float = 300.0  # until the next one
    problems: tuple[str, ...] = ()  # empty: well


class Report(NamedTuple):
    """What the daily mail says."""

    portfolio: str
    session: str
    ts_ns: int  # newest row
    equity_usd: float
    drawdown: float
    listing: Listing
    journal_seq: int
    journal_hash: str
    n_dead_letters: int
    problems: Sequence[str] = ()


async def keep_alive(path: Path, clock: Clock, status: Callable[[], Heartbeat]) -> None:
    """Write the file for ever. A disk that refuses is no error here: the file grows old, which tells it."""
    while True:
        beat = status()
        with suppress(OSError):
            write(path, beat)
        await clock.sleep(beat.interval_s)


def write(path: Path, heartbeat: Heartbeat) -> None:
    """Replace the file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(heartbeat))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def check(path: Path, now_ns: int) -> tuple[str, ...]:
    """Return what is wrong with a monitor, judged by its file; empty when it is well."""
    try:
        beat = msgspec.json.decode(path.read_bytes(), type=Heartbeat)
    except OSError as error:
        return (f"{path}: {error.strerror}; the monitor has never run here, or cannot write",)
    except (msgspec.MsgspecError, ValueError):
        return (f"{path}: is not a heartbeat",)
    age_ns = now_ns - beat.ts_ns
    limit_ns = 2 * beat.interval_s * 1e9
    if age_ns > limit_ns:
        return (f"no sign of life for {span(age_ns)}, since {moment(beat.ts_ns)}",)
    if age_ns < -limit_ns:
        return (f"{path}: is dated {moment(beat.ts_ns)}, which is yet to come; one of the clocks is wrong",)
    return beat.problems


def daily_report(report: Report) -> Daily:
    """Return the mail that tells every day that the monitor lives, and what is open."""
    alerts = report.listing.alerts
    problems = [*report.problems]
    if report.n_dead_letters:
        problems.append(f"{counted(report.n_dead_letters, 'deliveries')} given up (dead letters)")
    if problems:
        state = counted(len(problems), "problems")
    else:
        state = f"{counted(len(alerts), 'alerts')} open" if alerts else "all well"
    session = report.session or "no session yet"
    drawdown = report.drawdown if math.isfinite(report.equity_usd) else math.nan
    subject = f"Daily: {state}; {session}, drawdown {number(drawdown, 'share')}"
    lines = [
        f"Portfolio {report.portfolio}: {state}.",
        f"Newest {bar(report.ts_ns)}; equity {dollars(report.equity_usd)}."
        if report.ts_ns
        else "No bar yet; equity unknown.",
        *(f"Problem: {clean(problem)}" for problem in problems),
        "",
    ]
    for one in alerts:
        unit = RULES[one.rule].unit
        value = clean(one.detail) if unit == "state" else number(one.value, unit)
        marks = [one.severity, f"since {moment(one.since_ns)}"]
        marks += ["acknowledged"] if one.acknowledged else []
        marks += [] if one.mailed_open else ["not mailed before"]
        name = f"{RULES[one.rule].title} {clean(one.subject)}"
        lines.append(f"{name}: {value} ({', '.join(marks)}; {one.key[:8]})")
    for silence in report.listing.silences:
        what = f"{silence.rule} {clean(silence.subject)}"
        lines.append(f"Silenced: {what} until {moment(silence.until_ns)}")
    lines += ["", f"Journal row {report.journal_seq}, {report.journal_hash}"]
    return Daily(subject, "\n".join(lines))
