"""What each thing that a server may do means for each recipient: the outcome table of B-4."""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import threading
from email.message import EmailMessage

import pytest

from config import Secret
from config.settings import Email
from monitors.smtp import Failure, Trouble, probe, send
from tests.monitors.smtp_server import CUT, DRIP, GARBAGE, HANG, HUGE, Authority, smtp_server

A, B = "pm@fund.test", "risk@fund.test"
PASSWORD = "correct horse"


def settings(port, **changes):
    known = {
        "smtp_server": "127.0.0.1", "smtp_port": port, "security": "none", "sender": "desk@fund.test",
        "recipients": (A, B), "timeout_seconds": 60.0,
    }  # fmt: skip
    return Email(**{**known, **changes})


def note():
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "desk@fund.test", f"{A}, {B}", "hello"
    mail.set_content("body")
    return mail


def at_rcpt(address, reply):
    return lambda stage, argument: reply if stage == "rcpt" and address in argument else None


async def outcome(plan, **changes):
    """Return what is said of each recipient, and what the server has."""
    async with smtp_server(plan) as server:
        failures = await send(settings(server.port, **changes), note(), (A, B))
        return {who: failure.trouble for who, failure in failures.items()}, server


def both(trouble):
    return {A: trouble, B: trouble}


async def test_a_server_that_takes_it_leaves_nothing_to_do():
    troubles, server = await outcome({})
    assert troubles == {}
    assert [one.recipients for one in server.accepted] == [(A, B)]


ROWS = [
    ("greylisted", {"rcpt": "451 later"}, both(Trouble.RECIPIENT_LATER)),
    ("mailbox busy", {"rcpt": "450 busy"}, both(Trouble.RECIPIENT_LATER)),
    ("no such user", {"rcpt": "550 nobody"}, both(Trouble.RECIPIENT_NEVER)),
    ("one of two refused", at_rcpt(B, "550 nobody"), {B: Trouble.RECIPIENT_NEVER}),
    ("one of two greylisted", at_rcpt(A, "451 later"), {A: Trouble.RECIPIENT_LATER}),
    ("421 at MAIL", {"mail": "421 closing"}, both(Trouble.SERVER)),
    ("sender refused", {"mail": "550 not you"}, both(Trouble.SETTINGS)),
    ("451 at DATA", {"data": "451 later"}, both(Trouble.MAIL_LATER)),
    ("451 after the message", {"body": "451 later"}, both(Trouble.MAIL_LATER)),
    ("552 after the message", {"body": "552 too large"}, both(Trouble.MAIL_NEVER)),
    ("554 after the message", {"body": "554 spam"}, both(Trouble.MAIL_NEVER)),
    ("cut before the final reply", {"body": CUT}, both(Trouble.AMBIGUOUS)),
    ("cut at DATA", {"data": CUT}, both(Trouble.AMBIGUOUS)),
    ("cut at RCPT", {"rcpt": CUT}, both(Trouble.SERVER)),
    ("cut at EHLO", {"ehlo": CUT}, both(Trouble.SERVER)),
    ("no banner, cut", {"banner": CUT}, both(Trouble.SERVER)),
    ("421 as banner", {"banner": "421 busy"}, both(Trouble.SERVER)),
    ("554 as banner", {"banner": "554 go away"}, both(Trouble.SETTINGS)),
    ("garbage after the message", {"body": GARBAGE}, both(Trouble.AMBIGUOUS)),
    ("a megabyte after the message", {"body": HUGE}, both(Trouble.AMBIGUOUS)),
    ("mailbox full", {"rcpt": "552 full"}, both(Trouble.RECIPIENT_NEVER)),
    ("a login is missing, told at RCPT", {"rcpt": "530 log in first"}, both(Trouble.SETTINGS)),
    ("a login is missing, told at DATA", {"data": "530 log in first"}, both(Trouble.SETTINGS)),
    ("a login is missing, told after the message", {"body": "530 log in"}, both(Trouble.SETTINGS)),
    ("out of order at RCPT", {"rcpt": "503 login first"}, both(Trouble.SETTINGS)),
    ("something vague at RCPT", {"rcpt": "252 perhaps"}, both(Trouble.RECIPIENT_LATER)),
    ("taken in other words", {"body": "251 taken"}, both(Trouble.AMBIGUOUS)),
    ("421 at the last RCPT", at_rcpt(B, "421 too many"), both(Trouble.SERVER)),
    ("garbage as banner", {"banner": GARBAGE}, both(Trouble.GARBAGE)),
    ("a megabyte as a reply", {"mail": HUGE}, both(Trouble.GARBAGE)),
]


@pytest.mark.parametrize(("plan", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_outcomes(plan, expected):
    troubles, _ = await outcome(plan)
    assert troubles == expected


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("235 welcome", {}),
        ("535 bad credentials: correct horse", both(Trouble.SETTINGS)),
        ("534 application-specific password required", both(Trouble.SETTINGS)),
        ("454 temporary failure", both(Trouble.SERVER)),
        (CUT, both(Trouble.SERVER)),
    ],
)
async def test_a_login_that_is_refused_is_for_a_person_and_one_that_fails_is_for_later(auth, expected):
    plan = {"ehlo": "250-test\r\n250 AUTH PLAIN", "auth": auth}
    async with smtp_server(plan) as server:
        email = settings(server.port, username="desk", password=Secret(PASSWORD))
        failures = await send(email, note(), (A, B))
        assert {who: failure.trouble for who, failure in failures.items()} == expected
        assert not any(PASSWORD in failure.reason for failure in failures.values())
        assert len(server.received) == (0 if expected else 1)


@pytest.mark.parametrize(
    ("plan", "said"),
    [({}, None), ({"banner": "421 busy"}, "421 busy"), ({"banner": HANG}, "not done"), ({"ehlo": CUT}, "")],
)
async def test_a_probe_says_why_no_mail_could_be_sent_and_sends_nothing(plan, said):
    async with smtp_server(plan) as server:
        seconds = 0.5 if said == "not done" else 60.0
        email = settings(server.port, timeout_seconds=seconds, username="desk", password=Secret(PASSWORD))
        failure = await probe(email)
        assert (failure is None) == (said is None)
        assert failure is None or said in failure.reason
        assert not any(line.startswith(("MAIL", "AUTH")) for line in server.commands)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"banner": HANG}, Trouble.SERVER),
        ({"ehlo": HANG}, Trouble.SERVER),
        ({"ehlo": DRIP}, Trouble.SERVER),
        ({"rcpt": DRIP}, Trouble.SERVER),
        ({"body": HANG}, Trouble.AMBIGUOUS),
        ({"body": DRIP}, Trouble.AMBIGUOUS),
    ],
)
async def test_one_deadline_covers_hanging_and_dripping(plan, expected):
    for seconds in (0.3, 3.0, 30.0):  # On a busy machine the first may be over before the server is asked
        async with smtp_server(plan) as server:
            failures = await send(settings(server.port, timeout_seconds=seconds), note(), (A, B))
        if server.kept_waiting:
            break
    assert failures == both(Failure(expected, f"not done within {seconds:g} s"))


async def test_nobody_listening_is_a_server_in_trouble():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failures = await send(settings(taken.getsockname()[1]), note(), (A, B))
    assert {one.trouble for one in failures.values()} == {Trouble.SERVER}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("authority"))


async def over_tls(authority, monkeypatch, security, name="IP:127.0.0.1", days=2, offers=True):
    """Return the troubles, and the server, of a login and a mail over TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    tls = authority.server(name, days)
    async with smtp_server(tls=tls, implicit=security == "tls", offers_starttls=offers) as server:
        email = settings(server.port, security=security, username="desk", password=Secret(PASSWORD))
        failures = await send(email, note(), (A,))
        return failures, server


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_good_certificate_is_trusted_and_only_then_a_login_is_tried(authority, monkeypatch, security):
    failures, server = await over_tls(authority, monkeypatch, security)
    # This server knows no AUTH: that the client asked for it shows that TLS was accepted
    assert "AUTH" in failures[A].reason
    assert failures[A].trouble is Trouble.SETTINGS
    assert server.commands.count("EHLO " + socket.gethostname()) == (2 if security == "starttls" else 1)


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize(
    ("name", "days"), [("DNS:mail.elsewhere.test", 2), ("IP:127.0.0.1", -1)], ids=["wrong name", "expired"]
)
async def test_a_wrong_or_expired_certificate_gets_nothing(authority, monkeypatch, security, name, days):
    failures, server = await over_tls(authority, monkeypatch, security, name, days)
    assert failures[A].trouble is Trouble.SETTINGS
    assert "certificate" in failures[A].reason.lower()
    assert [c for c in server.commands if not c.startswith(("EHLO", "STARTTLS"))] == []
    assert server.received == []


def says_no_goodbye(listener, context, over):
    """Serve one session as SMTP servers do, and after QUIT keep the connection without a word of TLS."""
    connection, _ = listener.accept()
    with context.wrap_socket(connection, server_side=True) as secure, secure.makefile("rwb") as file:
        file.write(b"220 test\r\n")
        file.flush()
        while (line := file.readline()) != b"QUIT\r\n":
            file.write(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 ok\r\n")
            file.flush()
            while line == b"DATA\r\n" and file.readline() != b".\r\n":
                pass
            if line == b"DATA\r\n":
                file.write(b"250 kept\r\n")
                file.flush()
        file.write(b"221 bye\r\n")
        file.flush()
        over.wait(600)


def test_no_connection_outlives_the_mail(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, authority.server("IP:127.0.0.1"), over)
        server = threading.Thread(target=says_no_goodbye, args=arguments)
        server.start()
        port = listener.getsockname()[1]
        try:
            assert asyncio.run(send(settings(port, security="tls"), note(), (A, B))) == {}
            gc.collect()  # What is still open warns of it, which fails the test
        finally:
            over.set()
            server.join()


async def test_without_starttls_neither_mail_nor_login_goes_out(authority, monkeypatch):
    failures, server = await over_tls(authority, monkeypatch, "starttls", offers=False)
    assert failures[A].trouble is Trouble.SETTINGS
    assert [c for c in server.commands if not c.startswith(("EHLO", "HELO", "QUIT", "STARTTLS"))] == []


async def test_a_password_that_a_server_repeats_is_not_shown():
    async with smtp_server({"mail": f"550 {PASSWORD} is wrong"}) as server:
        email = settings(server.port, security="none", username=None, password=Secret(PASSWORD))
        failures = await send(email, note(), (A,))
    assert PASSWORD not in failures[A].reason
