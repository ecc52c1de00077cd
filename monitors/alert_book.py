"""Which alerts are open, and what is to be said: hysteresis, reminders, what stays unmailed and why.

Of every (rule, subject), in this order:

1. It fires when the value passes the first level, and grows worse when it passes a higher one: each level
   once per episode.
2. It is clearing from where the value is back at the clear level, and open again if it passes a level
   meanwhile. It is resolved a repeat interval after the last word about it at the earliest, and, if it came
   back before, when it has been clearing for 15 minutes; a cause after 15 minutes alone. So a value that
   swings around its limit is one episode.
3. What fires again too early (`min_interval_days` for calm rules, else the repeat interval) is recorded and
   not mailed, unless it is at a higher level or of a higher severity than what was mailed.
4. A reminder is due a repeat interval after the last mail, then after twice that, and so on up to a week. One
   that was not mailed is told when its pause is over and it is still open.
5. An end is mailed if the beginning was.
6. Nothing is mailed while a silence holds; reminders stop when the alert is acknowledged, until it grows
   worse.

Everything is decided from the readings and from journalled time, so a replay decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from config.settings import Monitoring
from monitors.alerts import (
    RULES,
    SEVERITIES,
    Contribution,
    Episode,
    Reading,
    Severity,
    Subject,
    Transition,
    alert_key,
)
from monitors.view import PortfolioView

EPSILON = 1e-9  # 1 - 90 / 100 is a little less than a tenth
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
HOLD_NS = HOUR_NS // 4
REMINDER_NS_MAX = 7 * DAY_NS
HISTORY_SESSIONS = 120

# A feed that is silent or full of holes makes all of these doubtful
INHIBITORS = ("feed", "feed_missing")
INHIBITED = frozenset(
    ("drawdown", "portfolio_stop", "sector", "single_name", "stop_unfilled", "reconciliation", "stale_name")
)


class Silence(Struct, frozen=True):
    """Nothing about this rule and subject ("*": any) is mailed until then; it is recorded all the same."""

    rule: str
    subject: str
    until_ns: int
    reason: str

    def covers(self, rule: str, subject: str) -> bool:
        return self.rule in ("*", rule) and self.subject in ("*", subject)


class Trail(Struct):
    """The values of a subject at the sessions' ends, the running session's last."""

    session: str
    values: list[float]


class OpenAlert(Struct, kw_only=True):
    """What is known of a (rule, subject) that is open, or that was mailed not long ago."""

    rule: str
    subject: str
    open: bool = False
    episode: int = 0
    key: str = ""
    level: int = 0  # levels passed in the episode, at worst
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
    said_ns: int = 0  # last transition
    mailed_ns: int | None = None  # last mail about it
    fire_mailed_ns: int | None = None  # last mail that told of something new
    mailed_level: int = 0  # of that mail
    mailed_severity: Severity = "info"
    mailed_open: bool = False  # the last mail said that it is open
    reminders: int = 0  # mailed in this episode
    n_repeats: int = 0
    acknowledged: bool = False


class Background(NamedTuple):
    """What a transition tells beyond its reading."""

    drawdown: Episode | None = None
    contributors: tuple[Contribution, ...] = ()


class AlertBook:
    """The alerts of one portfolio."""

    def __init__(self, portfolio: str, monitoring: Monitoring) -> None:
        self.portfolio = portfolio
        self._repeat_ns = round(monitoring.repeat_hours * HOUR_NS)
        self._calm_ns = max(monitoring.min_interval_days * DAY_NS, self._repeat_ns)
        self._alerts: dict[Subject, OpenAlert] = {}
        self._trails: dict[Subject, Trail] = {}
        self._silences: list[Silence] = []

    def advance(
        self,
        readings: Iterable[Reading],
        view: PortfolioView,
        background: Callable[[Reading], Background],
    ) -> list[Transition]:
        """Return what there is to say about the readings of a view, in their order.

        A subject without a reading is no longer held: its alert clears.
        """
        self._silences = [one for one in self._silences if one.until_ns > view.now_ns]
        found = []
        seen = set()
        for reading in readings:
            seen.add((reading.rule, _storable(reading.subject)))
            found += self._judge(reading, view, background)
        for place in [place for place, alert in self._alerts.items() if place not in seen and alert.open]:
            found += self._judge(self._gone(self._alerts[place]), view, background)
        self._forget(seen, view.now_ns)
        return found

    def acknowledge(self, key: str) -> None:
        """Send no reminders of the open alerts whose key begins so, until they grow worse."""
        for alert in self._alerts.values():
            if alert.open and key and alert.key.startswith(key):
                alert.acknowledged = True

    def silence(self, silence: Silence) -> None:
        """Mail nothing that it covers; it replaces one of the same rule and subject."""
        self.unsilence(silence.rule, silence.subject)
        self._silences.append(silence)

    def unsilence(self, rule: str, subject: str) -> None:
        """End the silence of exactly this rule and subject."""
        self._silences = [one for one in self._silences if (one.rule, one.subject) != (rule, subject)]

    def notice(self, rule: str, subject: str, detail: str, view: PortfolioView) -> Transition:
        """Return what is said once about something that happened and is over when it is said."""
        key = alert_key(self.portfolio, rule, RULES[rule].version, subject, view.journal_seq)
        silenced = any(one.covers(rule, subject) for one in self._silences)
        return Transition(
            portfolio=self.portfolio,
            rule=rule,
            version=RULES[rule].version,
            subject=subject,
            episode=view.journal_seq,
            key=key,
            label="noticed",
            severity="info",
            mail=not silenced,
            held_back="silenced" if silenced else "",
            value=1.0,
            threshold=1.0,
            clear_level=1.0,
            value_fired=1.0,
            unit=RULES[rule].unit,
            detail=detail,
            session=view.session,
            ts_ns=view.ts_ns,
            detected_ns=view.now_ns,
            since_ns=view.now_ns,
            since_session=view.session,
            regime=view.regime,
            feed_age_s=view.feed_age_s,
            config_hash=view.config_hash,
        )

    @property
    def open(self) -> list[OpenAlert]:
        """The open alerts, worst first."""
        held = [alert for alert in self._alerts.values() if alert.open]
        return sorted(held, key=lambda one: (-SEVERITIES.index(one.severity), one.rule, one.subject))

    @property
    def watched(self) -> set[Subject]:
        """Subjects with an open alert."""
        return {place for place, alert in self._alerts.items() if alert.open}

    @property
    def silences(self) -> list[Silence]:
        return list(self._silences)

    def state(self) -> dict[str, Any]:
        tree = {
            "alerts": list(self._alerts.values()),
            "trails": [[*place, trail] for place, trail in self._trails.items()],
            "silences": self._silences,
        }
        return {"book": msgspec.msgpack.encode(tree)}

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = msgspec.msgpack.decode(state["book"], type=_Saved)
        self._alerts = {(alert.rule, alert.subject): alert for alert in saved.alerts}
        self._trails = {(rule, subject): trail for rule, subject, trail in saved.trails}
        self._silences = saved.silences

    def _judge(
        self, reading: Reading, view: PortfolioView, background: Callable[[Reading], Background]
    ) -> list[Transition]:
        reading = reading._replace(subject=_storable(reading.subject), detail=_storable(reading.detail))
        place = (reading.rule, reading.subject)
        trail = self._follow(place, reading.value, view.session)
        passed = _levels_passed(reading)
        alert = self._alerts.get(place)
        if alert is None:
            if not passed:
                return []
            alert = self._alerts[place] = OpenAlert(rule=reading.rule, subject=reading.subject)
        label = self._decide(alert, reading, passed, view)
        if alert.open or label:
            alert.value, alert.detail = reading.value, reading.detail
        if not label:
            return []
        mail, held_back = self._mailing(alert, label, view.now_ns)
        if mail:
            self._note_mail(alert, label, view.now_ns)
        if not alert.open:
            alert.mailed_open = False
        return [self._transition(alert, label, mail, held_back, reading, view, trail, background(reading))]

    def _decide(self, alert: OpenAlert, reading: Reading, passed: int, view: PortfolioView) -> str:
        """Move the alert; return the label of what there is to say, "" for nothing."""
        now_ns, unknown = view.now_ns, math.isnan(reading.value)
        if not passed:
            return self._clear(alert, reading, now_ns) if alert.open else ""
        severity = "critical" if unknown else reading.severities[passed - 1]
        if not alert.open:
            alert.open, alert.episode = True, view.journal_seq
            alert.key = alert_key(
                self.portfolio, alert.rule, RULES[alert.rule].version, alert.subject, alert.episode
            )
            alert.level, alert.severity, alert.unknown = passed, severity, unknown
            alert.since_ns, alert.since_session = now_ns, view.session
            alert.value_fired, alert.crossings, alert.clearing_ns = reading.value, 0, None
            alert.acknowledged, alert.reminders, alert.n_repeats = False, 0, 0
            self._limits(alert, reading)
            alert.said_ns = now_ns
            return "fired"
        if alert.clearing_ns is not None:
            alert.clearing_ns = None
            alert.crossings += 1
        if passed > alert.level or (unknown and not alert.unknown):
            label = f"worse-{passed}" if passed > alert.level else "unknown"
            alert.level, alert.unknown = max(passed, alert.level), alert.unknown or unknown
            alert.severity = max(alert.severity, severity, key=SEVERITIES.index)
            alert.acknowledged = False
            self._limits(alert, reading)
            alert.said_ns = now_ns
            return label
        return self._remind(alert, now_ns)

    def _clear(self, alert: OpenAlert, reading: Reading, now_ns: int) -> str:
        if alert.clearing_ns is None:
            if reading.value > reading.levels[0] - reading.clear_gap + EPSILON:
                return self._remind(alert, now_ns)
            alert.clearing_ns = now_ns
        if RULES[alert.rule].cause:
            due_ns = alert.clearing_ns + HOLD_NS
        else:
            due_ns = max(alert.said_ns, alert.mailed_ns or 0) + self._repeat_ns
            if alert.crossings:
                due_ns = max(due_ns, alert.clearing_ns + HOLD_NS)
        if now_ns < due_ns:
            return ""
        alert.open, alert.said_ns = False, now_ns
        return "resolved"

    def _remind(self, alert: OpenAlert, now_ns: int) -> str:
        if alert.acknowledged or self._silenced(alert):
            return ""
        if alert.mailed_open:
            assert alert.mailed_ns is not None
            pause_ns = min(self._repeat_ns * 2 ** min(alert.reminders, 16), REMINDER_NS_MAX)
            due_ns = alert.mailed_ns + max(pause_ns, self._repeat_ns)
        else:
            due_ns = 0 if alert.fire_mailed_ns is None else alert.fire_mailed_ns + self._pause_ns(alert.rule)
        if now_ns < due_ns:
            return ""
        alert.n_repeats += 1
        return f"repeat-{alert.n_repeats}"

    def _mailing(self, alert: OpenAlert, label: str, now_ns: int) -> tuple[bool, str]:
        """Return whether to mail, and if not, why."""
        if self._silenced(alert):
            return False, "silenced"
        if label == "resolved" and not alert.mailed_open:
            return False, "its beginning was not mailed"
        if label == "resolved":
            return True, ""
        if label.startswith("repeat") or alert.fire_mailed_ns is None:
            return True, ""
        worse = alert.level > alert.mailed_level or (
            SEVERITIES.index(alert.severity) > SEVERITIES.index(alert.mailed_severity)
        )
        pause_ns = self._pause_ns(alert.rule)
        if worse or now_ns - alert.fire_mailed_ns >= pause_ns:
            return True, ""
        return False, f"mailed less than {_told_pause(pause_ns)} ago, not worse"

    def _note_mail(self, alert: OpenAlert, label: str, now_ns: int) -> None:
        if label.startswith("repeat") and alert.mailed_open:
            alert.reminders += 1
        elif label != "resolved":
            alert.reminders = 0
            alert.fire_mailed_ns = now_ns
            alert.mailed_level, alert.mailed_severity = alert.level, alert.severity
        alert.mailed_ns, alert.mailed_open = now_ns, True

    def _limits(self, alert: OpenAlert, reading: Reading) -> None:
        alert.threshold = reading.levels[max(alert.level, 1) - 1]
        alert.clear_level = reading.levels[0] - reading.clear_gap

    def _pause_ns(self, rule: str) -> int:
        return self._calm_ns if RULES[rule].calm else self._repeat_ns

    def _silenced(self, alert: OpenAlert) -> bool:
        return any(one.covers(alert.rule, alert.subject) for one in self._silences)

    def _gone(self, alert: OpenAlert) -> Reading:
        return Reading(
            alert.rule,
            alert.subject,
            0.0,
            (math.inf,),
            (alert.severity,),
            detail="no longer held or reported",
        )

    def _follow(self, place: Subject, value: float, session: str) -> Trail:
        trail = self._trails.get(place)
        if trail is None:
            trail = self._trails[place] = Trail(session, [value])
        elif trail.session == session:
            trail.values[-1] = value
        else:
            trail.session = session
            trail.values.append(value)
            del trail.values[:-HISTORY_SESSIONS]
        return trail

    def _forget(self, seen: set[Subject], now_ns: int) -> None:
        """Drop what no reading or pause needs any more."""
        for place in [place for place in self._trails if place not in seen and not self._is_open(place)]:
            del self._trails[place]
        for place, alert in list(self._alerts.items()):
            if not alert.open and now_ns - (alert.fire_mailed_ns or 0) >= self._pause_ns(alert.rule):
                del self._alerts[place]

    def _is_open(self, place: Subject) -> bool:
        return place in self._alerts and self._alerts[place].open

    def _inhibitor(self, rule: str) -> str:
        if rule in INHIBITED:
            for alert in self._alerts.values():
                if alert.rule in INHIBITORS and alert.open and alert.mailed_open and not alert.clearing_ns:
                    return alert.key
        return ""

    def _transition(
        self,
        alert: OpenAlert,
        label: str,
        mail: bool,
        held_back: str,
        reading: Reading,
        view: PortfolioView,
        trail: Trail,
        background: Background,
    ) -> Transition:
        higher = [level for level in reading.levels if level > alert.threshold and math.isfinite(level)]
        return Transition(
            portfolio=self.portfolio,
            rule=alert.rule,
            version=RULES[alert.rule].version,
            subject=alert.subject,
            episode=alert.episode,
            key=alert.key,
            label=label,
            severity=alert.severity,
            mail=mail,
            held_back=held_back,
            inhibited_by=self._inhibitor(alert.rule),
            value=reading.value,
            threshold=alert.threshold,
            clear_level=alert.clear_level,
            next_level=higher[0] if higher else None,
            previous=trail.values[-2] if len(trail.values) > 1 else None,
            value_fired=alert.value_fired,
            unit=RULES[alert.rule].unit,
            detail=reading.detail,
            session=view.session,
            ts_ns=view.ts_ns,
            detected_ns=view.now_ns,
            since_ns=alert.since_ns,
            since_session=alert.since_session,
            crossings=alert.crossings,
            drawdown=background.drawdown,
            contributors=background.contributors,
            positions=reading.positions,
            history=tuple(trail.values) if len(trail.values) > 1 else (),
            regime=view.regime,
            feed_age_s=view.feed_age_s,
            config_hash=view.config_hash,
        )


class _Saved(Struct):
    alerts: list[OpenAlert]
    trails: list[tuple[str, str, Trail]]
    silences: list[Silence]


def _levels_passed(reading: Reading) -> int:
    # Written so that NaN passes: every comparison with it is false
    if reading.inclusive:
        passed = sum(not reading.value < level - EPSILON for level in reading.levels)
    else:
        passed = sum(not reading.value <= level + EPSILON for level in reading.levels)
    if math.isnan(reading.value):
        return 1
    return max(passed, 1) if reading.keep else passed


def _storable(text: str) -> str:
    """Return text that has UTF-8: halves of surrogate pairs, as in odd file names, have none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _told_pause(pause_ns: int) -> str:
    days, hours = pause_ns // DAY_NS, pause_ns / HOUR_NS
    return f"{days} days" if days else f"{hours:g} hours"
