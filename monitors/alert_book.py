"""The alerts of one portfolio: which are open, and what is to be said about them.

Of every (rule, subject) `monitors.episodes` knows the course, `monitors.mailing` what is mailed of it.
Everything is decided from the readings and from journalled time, so a replay decides the same; and what is
said, mailed or not, is the same whatever was read again, repeated, acknowledged or silenced in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from config.settings import Monitoring
from monitors import episodes, mailing
from monitors.alerts import (
    RULES,
    SEVERITIES,
    Contribution,
    Episode,
    Reading,
    Subject,
    Transition,
    alert_key,
)
from monitors.episodes import Moment, OpenAlert, Pace
from monitors.silences import Silence, Silences
from monitors.view import PortfolioView

HISTORY_SESSIONS = 120

# A feed that is silent or full of holes makes doubtful what rests on bars
INHIBITORS = ("feed", "feed_missing")


class Trail(Struct):
    """The values of a subject at the sessions' ends, the running session's last."""

    session: str
    values: list[float]


class Background(NamedTuple):
    """What a transition tells beyond its reading."""

    drawdown: Episode | None = None
    contributors: tuple[Contribution, ...] = ()


class AlertBook:
    """The alerts of one portfolio."""

    def __init__(self, portfolio: str, monitoring: Monitoring) -> None:
        self.portfolio = portfolio
        self.silences = Silences()
        self._pace = Pace.of(monitoring)
        self._alerts: dict[Subject, OpenAlert] = {}
        self._trails: dict[Subject, Trail] = {}

    def advance(
        self,
        readings: Iterable[Reading],
        view: PortfolioView,
        background: Callable[[Reading], Background],
    ) -> list[Transition]:
        """Return what there is to say about the readings of a view, in their order.

        A subject without a reading is no longer held: its alert clears.
        """
        self.silences.expire(view.now_ns)
        found = []
        seen = set()
        for reading in readings:
            if not (reading.subject.isascii() and reading.detail.isascii()):
                subject, detail = _storable(reading.subject), _storable(reading.detail)
                reading = reading._replace(subject=subject, detail=detail)
            seen.add(reading[:2])
            found += self._judge(reading, view, background)
        for place in [place for place, alert in self._alerts.items() if place not in seen and alert.open]:
            found += self._judge(episodes.gone(self._alerts[place]), view, background)
        self._forget(seen, view)
        return found

    def acknowledge(self, key: str) -> None:
        """Mail no reminders of the open alerts whose key begins so, until they grow worse."""
        for alert in self._alerts.values():
            if alert.open and key and alert.key.startswith(key):
                alert.acknowledged, alert.owed = True, False

    def notice(self, rule: str, subject: str, detail: str, view: PortfolioView) -> Transition:
        """Return what is said once about something that happened and is over when it is said."""
        key = alert_key(self.portfolio, rule, RULES[rule].version, subject, view.row_seq)
        silenced = self.silences.cover(rule, subject)
        return Transition(
            portfolio=self.portfolio,
            rule=rule,
            version=RULES[rule].version,
            subject=subject,
            episode=view.row_seq,
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
            detected_ns=_time_ns(rule, view),
            since_ns=_time_ns(rule, view),
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

    def state(self) -> dict[str, Any]:
        tree = {
            "alerts": list(self._alerts.values()),
            "trails": [[*place, trail] for place, trail in self._trails.items()],
            "silences": self.silences.held,
        }
        return {"book": msgspec.msgpack.encode(tree)}

    def restore(self, state: Mapping[str, Any]) -> None:
        saved = msgspec.msgpack.decode(state["book"], type=_Saved)
        self._alerts = {(alert.rule, alert.subject): alert for alert in saved.alerts}
        self._trails = {(rule, subject): trail for rule, subject, trail in saved.trails}
        self.silences.held = saved.silences

    def _judge(
        self, reading: Reading, view: PortfolioView, background: Callable[[Reading], Background]
    ) -> list[Transition]:
        place = reading[:2]
        if view.catching_up and not RULES[reading.rule].of_machine:
            self._follow(place, reading.value, view.session)
            return []
        alert = self._alerts.get(place)
        if alert is None:
            if not episodes.levels_passed(reading):  # Most readings of a row
                self._follow(place, reading.value, view.session)
                return []
            alert = OpenAlert(rule=reading.rule, subject=reading.subject)
        said, now_ns = [], _time_ns(reading.rule, view)
        if alert.open and episodes.is_over(alert, self._pace, now_ns):
            before = reading._replace(value=alert.value, detail=alert.detail)
            said.append(self._say(alert, episodes.end(alert, now_ns), before, view, background))
        self._follow(place, reading.value, view.session)
        due = ""
        if alert.open and alert.clearing_ns is None:
            due = mailing.reminder(alert, self._pace, now_ns)
        moment = Moment(view.row_seq, view.session, now_ns)
        label = episodes.take(alert, reading, self.portfolio, self._pace, moment)
        if alert.open:
            self._alerts[place] = alert
            if not label and alert.clearing_ns is None:
                silenced = self.silences.cover(*place)
                label = due or mailing.after_silence(alert, silenced=silenced)
        if label:
            said.append(self._say(alert, label, reading, view, background))
        return said

    def _follow(self, place: Subject, value: float, session: str) -> None:
        trail = self._trails.get(place)
        if trail is None:
            self._trails[place] = Trail(session, [value])
        elif trail.session == session:
            trail.values[-1] = value
        else:
            trail.session = session
            trail.values.append(value)
            del trail.values[:-HISTORY_SESSIONS]

    def _forget(self, seen: set[Subject], view: PortfolioView) -> None:
        """Drop what no reading, pause or number needs any more."""
        for place in [place for place in self._trails if place not in seen and not self._is_open(place)]:
            del self._trails[place]
        for place, alert in list(self._alerts.items()):
            paused = _time_ns(alert.rule, view) - (alert.news_ns or 0) < self._pace.pause_ns(alert.rule)
            if not alert.open and not paused and alert.episode < view.row_seq:
                del self._alerts[place]

    def _is_open(self, place: Subject) -> bool:
        return place in self._alerts and self._alerts[place].open

    def _inhibitor(self, rule: str) -> str:
        if RULES[rule].of_bars:
            for alert in self._alerts.values():
                if alert.rule in INHIBITORS and alert.open and alert.planned_open and not alert.clearing_ns:
                    return alert.key
        return ""

    def _say(
        self,
        alert: OpenAlert,
        label: str,
        reading: Reading,
        view: PortfolioView,
        background: Callable[[Reading], Background],
    ) -> Transition:
        silenced = self.silences.cover(alert.rule, alert.subject)
        now_ns = _time_ns(alert.rule, view)
        mail, held_back = mailing.decide(alert, label, self._pace, now_ns, silenced=silenced)
        told = background(reading)
        trail = self._trails.get((alert.rule, alert.subject), Trail("", [])).values
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
            previous=trail[-2] if len(trail) > 1 else None,
            value_fired=alert.value_fired,
            unit=RULES[alert.rule].unit,
            detail=reading.detail,
            session=view.session,
            ts_ns=view.ts_ns,
            detected_ns=now_ns,
            since_ns=alert.since_ns,
            since_session=alert.since_session,
            crossings=alert.crossings,
            drawdown=told.drawdown,
            contributors=told.contributors,
            positions=reading.positions,
            history=tuple(trail) if len(trail) > 1 else (),
            regime=view.regime,
            feed_age_s=view.feed_age_s,
            config_hash=view.config_hash,
        )


class _Saved(Struct):
    alerts: list[OpenAlert]
    trails: list[tuple[str, str, Trail]]
    silences: list[Silence]


def _time_ns(rule: str, view: PortfolioView) -> int:
    """Return the time that the course of a rule's alerts goes by."""
    return view.ts_ns if view.replayed and not RULES[rule].of_machine else view.now_ns


def _storable(text: str) -> str:
    """Return text that has UTF-8: halves of surrogate pairs, as in odd file names, have none."""
    return text.encode("utf-8", "replace").decode()
