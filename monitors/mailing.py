"""What of an alert is mailed, and when.

1. The timetable goes by the course of the alert alone. What fires again too early (`min_interval_days` for
   calm rules, else the repeat interval) is recorded and not mailed, unless it is at a higher level or of a
   higher severity than what was mailed; it is told when its pause is over and it is still open. A reminder is
   due a repeat interval after the last mail, then after twice that, and so on up to a week.
2. What a person wants to hear less of changes nothing of the timetable: reminders of what is acknowledged and
   everything that a silence covers are recorded on time and not mailed. What a silence kept back and is still
   open is told when it ends.
3. An end is mailed if the beginning was.
"""

from __future__ import annotations

from engine.counted import counted
from monitors.alerts import SEVERITIES
from monitors.episodes import DAY_NS, HOUR_NS, OpenAlert, Pace

REMINDER_NS_MAX = 7 * DAY_NS


def reminder(alert: OpenAlert, pace: Pace, now_ns: int) -> str:
    """Return the label of a reminder that is due, "" for none. A late one stands for those before it."""
    label = ""
    while now_ns >= (due_ns := _due_ns(alert, pace)):
        alert.n_repeats += 1
        label = f"repeat-{alert.n_repeats}"
        if alert.planned_open:
            alert.reminders += 1
            alert.planned_ns = due_ns
        else:
            _note_news(alert, due_ns)
    return label


def after_silence(alert: OpenAlert, *, silenced: bool) -> str:
    """Return the label under which an open alert is told that a silence kept back, "" for none."""
    if silenced or not alert.owed or alert.acknowledged:
        return ""
    alert.n_silences_over += 1
    return f"repeat-after-silence-{alert.n_silences_over}"


def decide(alert: OpenAlert, label: str, pace: Pace, now_ns: int, *, silenced: bool) -> tuple[bool, str]:
    """Note the word; return whether it is mailed, and if not, why."""
    planned, held_back = _plan(alert, label, pace, now_ns)
    if silenced:
        alert.owed = alert.owed or (planned and label != "resolved")
        mail, held_back = False, "silenced"
    elif label == "resolved":
        mail = alert.mailed_open
        held_back = "" if mail else "its beginning was not mailed"
    elif alert.acknowledged and label.startswith("repeat"):
        mail, held_back = False, "acknowledged"
    else:
        mail = planned or alert.owed
        held_back = "" if mail else held_back
    if mail:
        alert.owed, alert.mailed_open = False, True
    if not alert.open:
        alert.mailed_open = alert.planned_open = False
    return mail, held_back


def _plan(alert: OpenAlert, label: str, pace: Pace, now_ns: int) -> tuple[bool, str]:
    """Return whether the timetable has a mail for it, and if not, why."""
    if label.startswith("repeat"):
        return True, ""
    if label == "resolved":
        if alert.planned_open:
            alert.planned_ns = now_ns
        return alert.planned_open, ""
    worse = alert.level > alert.news_level or (
        SEVERITIES.index(alert.severity) > SEVERITIES.index(alert.news_severity)
    )
    pause_ns = pace.pause_ns(alert.rule)
    if alert.news_ns is None or worse or now_ns - alert.news_ns >= pause_ns:
        _note_news(alert, now_ns)
        return True, ""
    return False, f"mailed less than {_told_pause(pause_ns)} ago, not worse"


def _note_news(alert: OpenAlert, at_ns: int) -> None:
    alert.planned_ns = alert.news_ns = at_ns
    alert.planned_open, alert.reminders = True, 0
    alert.news_level, alert.news_severity = alert.level, alert.severity


def _due_ns(alert: OpenAlert, pace: Pace) -> int:
    if not alert.planned_open:
        return (alert.news_ns or 0) + pace.pause_ns(alert.rule)
    pause_ns = min(pace.repeat_ns << min(alert.reminders, 16), REMINDER_NS_MAX)
    return (alert.planned_ns or 0) + max(pause_ns, pace.repeat_ns)


def _told_pause(pause_ns: int) -> str:
    days, hours = pause_ns // DAY_NS, pause_ns / HOUR_NS
    return counted(days, "days") if days else f"{hours:g} hour{'s' if hours != 1 else ''}"
