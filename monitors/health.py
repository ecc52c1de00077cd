"""How the monitor is: what it measures of itself, and what keeps it from being healthy or ready.

The watchdog is fed and `/healthz` says ok only while `problems` is empty.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from engine.clock import Clock
from monitors.view import Condition

LAG_MAX_S = 1.0
LAGS_KEPT = 240  # measurements: the last minute, longer than between two looks at the metrics
JUMP_S = 2.0  # between wall and monotonic clock, from one reading to the next
TOLD_S = 60.0  # how long a jump is told of


@dataclass
class Health:
    """Written by the tasks of the daemon, read by the HTTP server and the watchdog."""

    clock: Clock
    feed_dead_s: float
    ready: bool = False
    stopping: bool = False
    lag_s: float = 0.0  # of the loop, newest measurement
    lags_s: deque[float] = field(default_factory=lambda: deque(maxlen=LAGS_KEPT))
    feed_heard_s: float | None = None  # monotonic, when the feed last gave anything
    feed_alive_s: float | None = None  # `LiveFeed.alive_s`
    ts_ns: int = 0  # newest row
    journal_seq: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # rows, bars, signals, orders, fills, alerts, ...
    commit_s: float = 0.0  # what the newest transaction took
    failing: dict[str, str] = field(default_factory=dict)  # task off the path -> its error
    mail_trouble: str = ""  # why no mail can be sent
    stuck: dict[str, float] = field(default_factory=dict)  # task -> monotonic time by which it must be done

    @property
    def lag_worst_s(self) -> float:
        """The worst lag of the loop in the last minute."""
        return max(self.lags_s, default=0.0)

    def problems(self) -> list[str]:
        """Return what is wrong, one line each."""
        now_s = self.clock.monotonic_s()
        found = []
        if self.lag_s > LAG_MAX_S:
            found.append(f"event loop: {self.lag_s:.1f} s late")
        if self.feed_alive_s is not None and now_s - self.feed_alive_s > self.feed_dead_s:
            found.append(f"feed: no sign of life for {now_s - self.feed_alive_s:.0f} s")
        found += [f"{task}: stuck" for task, due_s in self.stuck.items() if now_s > due_s]
        return found

    def conditions(self) -> tuple[Condition, ...]:
        """Return what is wrong off the path, for the alerts."""
        found = [Condition("monitor_degraded", task, error) for task, error in sorted(self.failing.items())]
        if self.mail_trouble:
            found.append(Condition("delivery", "mail server", self.mail_trouble))
        return tuple(found)

    @property
    def feed_age_s(self) -> float:
        """Seconds since the feed last gave anything, 0 before."""
        return 0.0 if self.feed_heard_s is None else self.clock.monotonic_s() - self.feed_heard_s


class JumpDetector:
    """Notices when the wall clock moves otherwise than the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ns, self._monotonic_s = clock.now_ns(), clock.monotonic_s()
        self._told: tuple[float, Condition] | None = None  # until when

    def conditions(self) -> tuple[Condition, ...]:
        """Return word of a jump for a minute after it."""
        wall_ns, monotonic_s = self._clock.now_ns(), self._clock.monotonic_s()
        jump_s = (wall_ns - self._wall_ns) / 1e9 - (monotonic_s - self._monotonic_s)
        self._wall_ns, self._monotonic_s = wall_ns, monotonic_s
        if abs(jump_s) > JUMP_S:
            detail = f"the wall clock jumped by {jump_s:+,.0f} s"
            self._told = monotonic_s + TOLD_S, Condition("monitor_degraded", "clock", detail)
        elif self._told is not None and monotonic_s > self._told[0]:
            self._told = None
        return () if self._told is None else (self._told[1],)
