"""A store, a relay on virtual time and what arrives: for the tests of delivery."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager
from pathlib import Path

from config.settings import Email
from engine.clock import ManualClock
from monitors import outbox, outbox_tables
from monitors.alerts import RULES, Transition, alert_key
from monitors.relay import Relay

START_NS = 1_704_229_200_000_000_000  # 2024-01-02 16:00 in New York
MINUTE_NS = 60 * 1_000_000_000


def transition(n=1, *, rule="single_name", label="fired", severity="warning", at_ns=START_NS, **changes):
    """Return what is said of the n-th subject."""
    subject = changes.pop("subject", f"S{n:04d}")
    known = {
        "portfolio": "fund", "rule": rule, "version": 1, "subject": subject, "episode": n,
        "key": alert_key("fund", rule, 1, subject, n), "label": label, "severity": severity, "mail": True,
        "value": 0.12, "threshold": 0.1, "clear_level": 0.09, "value_fired": 0.12, "unit": RULES[rule].unit,
        "session": "2024-01-02", "ts_ns": at_ns - 3_000_000_000, "detected_ns": at_ns, "since_ns": at_ns,
        "since_session": "2024-01-02",
    }  # fmt: skip
    return Transition(**{**known, **changes})


class Post:
    """One outbox and one relay. `told` is what the second channel heard: (seconds since the start, ...)."""

    def __init__(
        self, port: int, path: str | Path = ":memory:", clock: ManualClock | None = None, *,
        replayed: bool = False, **email,
    ):  # fmt: skip
        self.replayed = replayed
        self.clock = clock or ManualClock(START_NS)
        self.connection = sqlite3.connect(path, isolation_level=None)
        for statement in outbox_tables.SCHEMA:
            self.connection.execute(statement)
        self.told: list[tuple[float, str, str]] = []
        self.wake = asyncio.Event()
        known = {
            "enabled": True, "smtp_server": "127.0.0.1", "smtp_port": port, "security": "none",
            "sender": "desk@fund.test", "recipients": ("pm@fund.test",), "timeout_seconds": 60.0,
            "daily_at": None,
        }  # fmt: skip
        self.email = Email(**{**known, **email})
        self.restart()

    def restart(self) -> None:
        """Begin anew on the same outbox, as the next process does."""
        self.relay = Relay(
            self.transaction,
            self.email,
            portfolio="fund",
            clock=self.clock,
            tell=lambda severity, text: self.told.append((self.clock.monotonic_s(), severity, text)),
            wake=self.wake,
            replayed=self.replayed,
        )
        self.relay.start()

    @contextmanager
    def transaction(self):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def say(self, *transitions: Transition) -> None:
        with self.transaction() as connection:
            outbox.enqueue(connection, transitions, self.clock.now_ns())

    async def run(self, seconds: float) -> None:
        """Let the relay work for some virtual time."""
        end_s = self.clock.monotonic_s() + seconds
        while True:
            pause_s = await self.relay.step()
            left_s = end_s - self.clock.monotonic_s()
            if left_s < 1e-6:  # Less than the clock can tell
                return
            await self.clock.advance(min(pause_s, left_s), turns=1)

    def stats(self) -> outbox.Stats:
        return outbox.stats(self.connection)

    def dead(self) -> list[tuple[str, str]]:
        rows = self.connection.execute("SELECT recipient, error FROM delivery WHERE state = 'dead'")
        return rows.fetchall()

    def close(self) -> None:
        self.connection.close()


def keys_of(received) -> list[str]:
    """Return the notification keys of a mail."""
    return list(received.mail.get_all("X-Alert-Key", []))


def all_keys(accepted) -> list[str]:
    return [key for one in accepted for key in keys_of(one)]


def text_of(received) -> str:
    return received.mail.get_body(("plain",)).get_content()
