"""The course of one alert, from its readings and journalled time alone: levels, hysteresis, the end.

1. It fires when the value passes the first level, and grows worse when it passes a level that nothing in the
   episode had passed: each level once per episode, whatever becomes of the limits meanwhile. It also grows
   worse when a new limit makes the value more severe than anything in the episode was.
2. It is clearing from where the value is back at the clear level, and open again if it passes a level
   meanwhile. It is over a repeat interval after the last word about it at the earliest, and, if it came back
   before, when it has been clearing for 15 minutes; a cause after 15 minutes alone. So a value that swings
   around its limit is one episode.
3. Between two readings nothing is known to change: an episode whose time has come ends before the next
   reading is looked at, however many inputs came in between. What is measured on bars begins to clear with a
   row: neither a limit nor a position that is away for a moment ends it.
4. An episode is numbered by the row of bars on which it began, and is one higher than the subject's last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from msgspec import Struct

from config.settings import Monitoring
from monitors.alerts import RULES, SEVERITIES, Reading, Severity, alert_key

EPSILON = 1e-9  # 1 - 90 / 100 is a little less than a tenth
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
HOLD_NS = HOUR_NS // 4


class Pace(NamedTuple):
    """The pauses of the settings."""

    repeat_ns: int  # to a first reminder, and before an end is told
    calm_ns: int  # until a calm rule that fires again is mailed again

    @classmethod
    def of(cls, monitoring: Monitoring) -> Pace:
        repeat_ns = round(monitoring.repeat_hours * HOUR_NS)
        return cls(repeat_ns, max(monitoring.min_interval_days * DAY_NS, repeat_ns))

    def pause_ns(self, rule: str) -> int:
        """Return how long after a mail what fires again must be worse to be mailed."""
        return self.calm_ns if RULES[rule].calm else self.repeat_ns


class Moment(NamedTuple):
    """When a reading was taken."""

    row_seq: int
    session: str
    now_ns: int  # of the time that the rule goes by


class OpenAlert(Struct, kw_only=True):
    """What is known of a (rule, subject) that is open, or that was told of not long ago."""

    rule: str
    subject: str
    open: bool = False
    episode: int = -1
    key: str = ""
    row_seq: int = 0  # of its newest reading
    level: int = 0  # levels passed in the episode, at worst
    worst: float = -math.inf  # value of the episode
    severity: Severity = "info"
    unknown: bool = False  # that there is no number has been said
    threshold: float = 0.0
    clear_level: float = 0.0
    value: float = 0.0
    value_fired: float = 0.0
    detail: str = ""
    since_ns: int = 0
    since_session: str = ""
    clearing_ns: int | None = None
    crossings: int = 0
    said_ns: int = 0  # last step of the course

    # The timetable of mails, as if nobody had ever acknowledged or silenced anything
    planned_ns: int | None = None  # last mail about it
    planned_open: bool = False  # that mail said that it is open
    news_ns: int | None = None  # last mail that told of something new
    news_level: int = 0  # of that mail
    news_severity: Severity = "info"
    reminders: int = 0  # since then
    n_repeats: int = 0  # in this episode

    # What was really mailed
    acknowledged: bool = False
    mailed_open: bool = False  # the last mail said that it is open
    owed: bool = False  # a silence kept back a mail, and none came since
    n_silences_over: int = 0  # in this episode


def is_over(alert: OpenAlert, pace: Pace, now_ns: int) -> bool:
    """Whether an open alert has been clear for long enough."""
    if alert.clearing_ns is None:
        return False
    if RULES[alert.rule].cause:
        return now_ns >= alert.clearing_ns + HOLD_NS
    due_ns = max(alert.said_ns, alert.planned_ns or 0) + pace.repeat_ns
    if alert.crossings:
        due_ns = max(due_ns, alert.clearing_ns + HOLD_NS)
    return now_ns >= due_ns


def end(alert: OpenAlert, now_ns: int) -> str:
    """End the episode; return the label of what there is to say."""
    alert.open, alert.said_ns = False, now_ns
    return "resolved"


def take(alert: OpenAlert, reading: Reading, portfolio: str, pace: Pace, moment: Moment) -> str:
    """Move the alert by a reading; return the label of what there is to say, "" for nothing."""
    passed = levels_passed(reading)
    if alert.open:
        label = _go_on(alert, reading, passed, pace, moment)
    else:
        label = _fire(alert, reading, passed, portfolio, moment) if passed else ""
    if alert.open or label:
        alert.value, alert.detail, alert.row_seq = reading.value, reading.detail, moment.row_seq
        if reading.value > alert.worst:  # False for NaN
            alert.worst = reading.value
    return label


def levels_passed(reading: Reading) -> int:
    """Return how many levels the value has passed. A missing number has passed the first."""
    if math.isnan(reading.value):
        return 1
    passed = _passed(reading, reading.value)
    return max(passed, 1) if reading.keep else passed


def gone(alert: OpenAlert) -> Reading:
    """Return the reading of an open alert whose subject is no longer held or reported."""
    return Reading(
        alert.rule, alert.subject, 0.0, (math.inf,), (alert.severity,), detail="no longer held or reported"
    )


def _fire(alert: OpenAlert, reading: Reading, passed: int, portfolio: str, moment: Moment) -> str:
    alert.open, alert.episode = True, max(moment.row_seq, alert.episode + 1)
    version = RULES[alert.rule].version
    alert.key = alert_key(portfolio, alert.rule, version, alert.subject, alert.episode)
    alert.level, alert.worst, alert.unknown = passed, -math.inf, math.isnan(reading.value)
    alert.severity = "critical" if alert.unknown else reading.severities[passed - 1]
    alert.threshold = reading.levels[passed - 1]
    alert.clear_level = reading.levels[0] - reading.clear_gap
    alert.since_ns, alert.since_session = moment.now_ns, moment.session
    alert.value_fired, alert.crossings, alert.clearing_ns = reading.value, 0, None
    alert.acknowledged, alert.reminders, alert.n_repeats, alert.n_silences_over = False, 0, 0, 0
    alert.said_ns = moment.now_ns
    return "fired"


def _go_on(alert: OpenAlert, reading: Reading, passed: int, pace: Pace, moment: Moment) -> str:
    now_ns = moment.now_ns
    if math.isfinite(reading.levels[0]):
        alert.clear_level = reading.levels[0] - reading.clear_gap
    if not passed:
        is_news = moment.row_seq > alert.row_seq or not RULES[alert.rule].of_bars
        is_clear = reading.value <= reading.levels[0] - reading.clear_gap + EPSILON
        if alert.clearing_ns is None and is_clear and is_news:
            alert.clearing_ns = now_ns
        return end(alert, now_ns) if is_over(alert, pace, now_ns) else ""
    if alert.clearing_ns is not None:
        alert.clearing_ns = None
        alert.crossings += 1
    unknown = math.isnan(reading.value)
    severity: Severity = "critical" if unknown else reading.severities[passed - 1]
    graver = SEVERITIES.index(severity) > SEVERITIES.index(alert.severity)
    alert.severity = severity if graver else alert.severity
    label = ""
    if passed > max(_passed(reading, alert.worst), 1) or (graver and not unknown):
        # Limits may have moved: a number that was used names another level now
        alert.level = max(alert.level + 1, passed)
        alert.threshold = reading.levels[passed - 1]
        label = f"worse-{alert.level}"
    elif unknown and not alert.unknown:
        label = "unknown"
    if label:
        alert.unknown = alert.unknown or unknown
        alert.acknowledged, alert.said_ns = False, now_ns
    return label


def _passed(reading: Reading, value: float) -> int:
    if value < reading.levels[0] - EPSILON:
        return 0  # Most readings; levels ascend
    if reading.inclusive:
        return sum(value >= level - EPSILON for level in reading.levels)
    return sum(value > level + EPSILON for level in reading.levels)
