"""Planted faults in the way mail is sent: each must be caught by the checks of the mail tests."""

from __future__ import annotations

import aiosmtplib
import pytest

from monitors import smtp
from monitors.smtp import send
from tests.monitors.post import Post, transition
from tests.monitors.smtp_server import smtp_server
from tests.monitors.test_smtp import A, B, note, settings


async def sent_in_the_clear():
    """Return whether a server without STARTTLS got anything from a client that was told to use it."""
    async with smtp_server() as server:
        await send(settings(server.port, security="starttls"), note(), (A,))
        return bool(server.received) or any(one.startswith("MAIL") for one in server.commands)


async def test_starttls_left_to_its_default_is_caught(monkeypatch):
    """Planted fault 11: `start_tls=None` goes on in the clear."""
    assert not await sent_in_the_clear()

    class Trusting(smtp.Client):
        def __init__(self, **options):
            super().__init__(**{**options, "start_tls": None})

    monkeypatch.setattr(smtp, "Client", Trusting)
    assert await sent_in_the_clear()


async def states():
    """Return the state of each recipient's delivery when the server refuses one of two."""

    def plan(stage, argument):
        return "550 nobody" if stage == "rcpt" and B in argument else None

    async with smtp_server(plan) as server:
        one = Post(server.port, recipients=(A, B))
        one.say(transition(1))
        await one.run(6)
        found = one.connection.execute("SELECT recipient, state FROM delivery WHERE mail_id = 1").fetchall()
        one.close()
        return dict(found)


async def test_a_refusal_that_is_only_returned_and_ignored_is_caught(monkeypatch):
    """Planted fault 12: one refusal of two raises nothing."""
    assert await states() == {A: "sent", B: "dead"}

    class Careless(smtp.Client):
        async def send_message(self, *arguments, **options):
            _, said = await super().send_message(*arguments, **options)
            return {}, said

    monkeypatch.setattr(smtp, "Client", Careless)
    assert await states() == {A: "sent", B: "sent"}


@pytest.mark.parametrize("default", [None])
def test_the_library_still_has_the_default_that_we_must_not_use(default):
    assert aiosmtplib.SMTP()._start_tls_on_connect is default
