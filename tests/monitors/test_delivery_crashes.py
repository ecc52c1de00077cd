"""The process dies at any instruction that matters and starts again: reliability.md B-1, B-2, B-3.

A small daemon (one transaction per event, then the relay) runs over a file. It is killed before and after
every commit, before a mail is sent and after the server took it, one place per run; then it starts again and
goes on. Nothing is torn here: the store's own tests do that. Faults that must be caught are planted through
`faults` (section 7 of reliability.md).
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import snapshot
from engine.clock import ManualClock
from monitors import outbox, outbox_tables, relay
from monitors.monitoring import Monitors
from tests.monitors.post import START_NS, Post, keys_of, text_of
from tests.monitors.smtp_server import smtp_server
from tests.monitors.views import position, settings, view

NIGHTLY = [pytest.mark.nightly, pytest.mark.timeout(3_600)]  # Minutes of work, more on a busy machine
EQUITY = [100.0, 89.0, 84.0, 95.0, 100.0, 88.0]


class Killed(BaseException):
    """The process is gone."""


class Trap:
    """Counts the places at which a process can die, and dies at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.n = at, 0

    def step(self) -> None:
        self.n += 1
        if self.n == self.at:
            self.at = None
            raise Killed


class Daemon(Post):
    """Monitors, their state and the outbox in one file. faults: names of planted faults."""

    def __init__(self, path: Path, port: int, clock: ManualClock, trap: Trap, faults=()) -> None:
        self.trap, self.faults = trap, faults
        super().__init__(port, path, clock)
        self.connection.execute("PRAGMA synchronous = OFF")  # The process dies, not the machine
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS state (day INTEGER, data BLOB)")
        self.monitors = Monitors(settings(sector_limits={"other": 0.25}), "fund")
        row = self.connection.execute("SELECT day, data FROM state ORDER BY day DESC LIMIT 1").fetchone()
        self.next_day = 0
        if row is not None:
            self.next_day = row[0] + 1
            self.monitors.restore(snapshot.decode(row[1]))

    @contextmanager
    def transaction(self):
        self.trap.step()
        with super().transaction() as connection:
            yield connection
        self.trap.step()

    def take(self, day: int) -> None:
        """Process one event."""
        said = self.monitors.evaluate(one_day(day))
        state = snapshot.encode(self.monitors.state())
        if "clock key" in self.faults:
            said = [with_key(one, f"{self.clock.now_ns() + self.trap.n:032x}") for one in said]
        if "state before mail" in self.faults:
            with self.transaction() as connection:
                connection.execute("INSERT INTO state VALUES (?, ?)", (day, state))
            with self.transaction() as connection:
                outbox.enqueue(connection, said, self.clock.now_ns())
            return
        with self.transaction() as connection:
            connection.execute("INSERT INTO state VALUES (?, ?)", (day, state))
            outbox.enqueue(connection, said, self.clock.now_ns())


def one_day(day):
    held = (position("ACME", 30 if day >= 2 else 10, sector="energy"),)
    return view(day, EQUITY[day], positions=held)


def with_key(transition, key):
    from msgspec.structs import replace

    return replace(transition, key=key)


async def life(path, server, trap, faults=()):
    """Run over all days, starting again whenever it dies; return the number of deaths."""
    clock, deaths = ManualClock(START_NS), 0
    real_send = relay.send

    async def send(email, message, recipients):
        trap.step()
        outcome = await real_send(email, message, recipients)
        trap.step()
        return outcome

    relay.send = send
    try:
        while True:
            daemon = None
            try:
                daemon = Daemon(path, server.port, clock, trap, faults)
                while daemon.next_day < len(EQUITY):
                    daemon.take(daemon.next_day)
                    daemon.next_day += 1
                    await daemon.run(20)
                await daemon.run(120)
                return deaths
            except Killed:
                deaths += 1
            finally:
                if daemon is not None:
                    daemon.close()
    finally:
        relay.send = real_send


async def check(tmp_path, at, expected, faults=()):
    """Die at place `at` and hold what arrived against the promises."""
    path = tmp_path / f"{at}-{len(faults)}.db"
    async with smtp_server() as server:
        trap = Trap(at)
        deaths = await life(path, server, trap, faults)
        copies: dict[str, list] = {}
        for mail in server.accepted:
            for key in keys_of(mail):
                copies.setdefault(key, []).append(mail)
        assert set(copies) == expected, "an alert was lost, or one was made up"
        first_seen = set()
        for mail in server.accepted:
            marked = "may be a repeat" in mail.mail["Subject"]
            assert marked == text_of(mail).startswith("This may be a repeat")
            again = mail.mail["Message-ID"] in first_seen
            assert marked or not again, "a repeat does not say so"
            first_seen.add(mail.mail["Message-ID"])
        for mails in copies.values():
            assert len(mails) <= 1 + deaths
            assert len({mail.mail["Message-ID"] for mail in mails}) == 1
        return trap.n


async def undisturbed(tmp_path):
    """Return the keys that an undisturbed life says, and its number of places to die at."""
    monitors = Monitors(settings(sector_limits={"other": 0.25}), "fund")
    keys = {
        one.notif_key for day in range(len(EQUITY)) for one in monitors.evaluate(one_day(day)) if one.mail
    }
    return keys, await check(tmp_path, None, keys)


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=NIGHTLY)])
async def test_killed_at_any_place_it_loses_no_alert_and_marks_every_repeat(tmp_path, stride):
    keys, n = await undisturbed(tmp_path)
    assert len(keys) > 5
    assert n > 100
    places = range(1, n + 1, stride)
    for at in places:
        await check(tmp_path, at, keys)
    print(
        f"delivery: killed at {len(places)} of {n} places, {len(keys)} alerts, none lost, every repeat marked"
    )


async def test_mail_that_the_server_took_before_the_death_is_repeated_once_and_marked(tmp_path):
    clock, trap = ManualClock(START_NS), Trap(None)
    async with smtp_server() as server:
        daemon = Daemon(tmp_path / "one.db", server.port, clock, trap)
        daemon.take(0)
        daemon.take(1)
        real_send = relay.send

        async def send_and_die(*arguments):
            await real_send(*arguments)
            raise Killed

        relay.send = send_and_die
        try:
            with pytest.raises(Killed):
                await daemon.run(60)
        finally:
            relay.send = real_send
        daemon.close()
        daemon = Daemon(tmp_path / "one.db", server.port, clock, trap)
        await daemon.run(60)
        first, second = server.accepted
        assert keys_of(first) == keys_of(second)
        assert first.mail["Message-ID"] == second.mail["Message-ID"]
        assert "[may be a repeat]" in second.mail["Subject"]
        assert "[may be a repeat]" not in first.mail["Subject"]
        daemon.close()


async def caught(tmp_path, faults, patch=None):
    """Return whether some place of death shows the fault."""
    keys, n = await undisturbed(tmp_path)
    if patch is not None:
        patch()
    for at in range(1, n + 1):
        try:
            await check(tmp_path, at, keys, faults)
        except (AssertionError, sqlite3.IntegrityError):
            return True
    return False


@pytest.mark.nightly
async def test_a_state_saved_before_its_mail_is_caught(tmp_path):
    """Planted fault 1: the original's order."""
    assert await caught(tmp_path, ("state before mail",))


@pytest.mark.nightly
async def test_a_mail_marked_as_sent_before_it_is_sent_is_caught(tmp_path, monkeypatch):
    """Planted fault 3"""

    def patch():
        real = outbox.start

        def start(connection, mail_id, recipients):
            real(connection, mail_id, recipients)
            for recipient in recipients:
                outbox.sent(connection, mail_id, recipient, 0)

        monkeypatch.setattr(outbox, "start", start)

    assert await caught(tmp_path, (), patch)


@pytest.mark.nightly
async def test_a_key_from_the_wall_clock_is_caught(tmp_path):
    """Planted fault 4"""
    assert await caught(tmp_path, ("clock key",))


@pytest.mark.nightly
async def test_a_message_id_that_is_drawn_anew_is_caught(tmp_path, monkeypatch):
    def patch():
        from email.utils import make_msgid

        real = outbox.due

        def due(*arguments, **options):
            found = real(*arguments, **options)
            return found and found._replace(message_id=make_msgid(domain="fund.test"))

        monkeypatch.setattr(outbox, "due", due)

    assert await caught(tmp_path, (), patch)


@pytest.mark.nightly
async def test_repeats_without_a_mark_are_caught(tmp_path, monkeypatch):
    def patch():
        def recover(connection):
            for (mail,) in connection.execute("SELECT id FROM mail").fetchall():
                with outbox_tables.changing(connection, mail):
                    connection.execute(
                        "UPDATE delivery SET state = 'pending', due_ns = 0"
                        " WHERE state = 'sending' AND mail_id = ?",
                        (mail,),
                    )

        monkeypatch.setattr(outbox, "recover", recover)

    assert await caught(tmp_path, (), patch)
