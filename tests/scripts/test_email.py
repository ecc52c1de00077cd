"""`backtest --email` against real SMTP servers on this machine."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest

from config import Secret
from config.settings import Email
from engine.errors import ConfigError
from scripts.cli import run
from scripts.mail import MailError, deliver, require_settings
from tests.scripts.price_file import write_prices

controllers = pytest.importorskip("aiosmtpd.controller", reason="aiosmtpd is not installed")
smtp = pytest.importorskip("aiosmtpd.smtp", reason="aiosmtpd is not installed")

PASSWORD = "correct horse"

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


class Inbox:
    """Keeps what arrives; refuses what it is told to."""

    def __init__(self, *, refuses=(), says_to_data="250 kept"):
        self.refuses, self.says_to_data, self.mails = refuses, says_to_data, []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refuses:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, server, session, envelope):
        if self.says_to_data.startswith("250"):
            self.mails.append((envelope, message_from_bytes(envelope.content, policy=default)))
        return self.says_to_data


class Server(controllers.Controller):
    """On a port that the system chooses. What is still connected when it stops is cut off first."""

    def factory(self):
        self.sessions = [*getattr(self, "sessions", ()), super().factory()]
        return self.sessions[-1]

    def stop(self, *arguments, **options):
        asyncio.run_coroutine_threadsafe(self._cut(), self.loop).result(timeout=600)
        super().stop(*arguments, **options)

    async def _cut(self):
        for session in self.sessions:
            if session.transport is not None:
                session.transport.abort()
        await asyncio.sleep(0.05)  # For the transports to close: one left open is a ResourceWarning

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def serve():
    """Start a server; return its port."""
    started = []

    def start(inbox, **options):
        server = Server(inbox, hostname="127.0.0.1", port=0, server_hostname="test", **options)
        started.append(server)
        server.start()
        return server.port

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate that nobody vouches for."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1",
         "-keyout", str(folder / "key"), "-out", str(folder / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


def settings(port, **changes):
    known = {
        "smtp_server": "127.0.0.1", "smtp_port": port, "security": "none", "sender": "desk@fund.test",
        "recipients": ("pm@fund.test", "risk@fund.test"), "timeout_seconds": 10.0,
    }  # fmt: skip
    return Email(**{**known, **changes})


def note():
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "desk@fund.test", "pm@fund.test, risk@fund.test", "hello"
    mail.set_content("body")
    return mail


@pytest.fixture
def backtest(tmp_path, monkeypatch):
    """Run the command with e-mail settings; return its exit code."""
    monkeypatch.chdir(tmp_path)
    data = write_prices(tmp_path / "prices.csv")

    def replay(email, *options):
        path = tmp_path / "settings.json"
        path.write_text(json.dumps({"email": email}))
        words = ["--data", str(data), "--strategies", "trend", "--email", *options]
        return run(["--settings", str(path), "backtest", *words])

    return replay


def section(port, **changes):
    return {
        "smtp_server": "127.0.0.1", "smtp_port": port, "security": "none", "sender": "desk@fund.test",
        "recipients": ["pm@fund.test"], **changes,
    }  # fmt: skip


def test_a_run_is_mailed_after_its_results_are_written(backtest, serve, tmp_path, capsys):
    inbox = Inbox()
    assert backtest(section(serve(inbox)), "--output-dir", "out") == 0
    shown = capsys.readouterr()
    assert "mailed to 1 recipient through 127.0.0.1" in shown.err
    ((envelope, mail),) = inbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("desk@fund.test", ["pm@fund.test"])
    record = json.loads((tmp_path / "out/run.json").read_text())
    figures = record["metrics"]["combined"]
    assert f"return {figures['total_return']:+.1%}" in mail["Subject"]
    assert f"max drawdown {figures['max_drawdown']:.1%}" in mail["Subject"]
    for kind in ("plain", "html"):
        body = mail.get_body((kind,)).get_content()
        assert f"{figures['final_equity']:,.2f}" in body
        assert record["event_log_hash"] in body
        assert "tearsheet.html" in body
    assert "email" not in record["options"]


def test_json_on_stdout_stays_one_object(backtest, serve, capsys):
    inbox = Inbox()
    assert backtest(section(serve(inbox)), "--json") == 0
    assert "metrics" in json.loads(capsys.readouterr().out)
    assert "no files were written" in inbox.mails[0][1].get_body(("plain",)).get_content()


def test_a_mail_that_fails_costs_no_results(backtest, serve, tmp_path, capsys):
    port = serve(Inbox(says_to_data="554 looks like spam"))
    assert backtest(section(port), "--output-dir", "out") == 1
    shown = capsys.readouterr()
    assert "combined" in shown.out
    assert (tmp_path / "out/run.json").exists()
    assert shown.err.splitlines()[-1] == (
        f"error: sending the e-mail failed: 127.0.0.1:{port}: 554 looks like spam"
    )


@pytest.mark.parametrize(
    ("email", "said"),
    [
        ({}, "email.smtp_server, email.sender, email.recipients"),
        (section(1, sender=None), "email.sender"),
        (section(1, security="tls", password="x"), "email.username"),
        (section(1, recipients=["a,b@fund.test"]), "is no address"),
    ],
)
def test_settings_that_are_missing_are_told_before_the_run(backtest, tmp_path, capsys, email, said):
    assert backtest(email, "--output-dir", "out") == 78
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""
    assert not (tmp_path / "out").exists()


def test_recipients_that_are_refused_are_named(serve):
    inbox = Inbox(refuses=("risk@fund.test",))
    with pytest.raises(MailError, match=r"sent to 1 of 2; .* refused risk@fund\.test: 550 no such user"):
        deliver(settings(serve(inbox)), note())
    assert [envelope.rcpt_tos for envelope, _ in inbox.mails] == [["pm@fund.test"]]


def test_a_server_that_refuses_everybody_is_one_line(serve):
    inbox = Inbox(refuses=("pm@fund.test", "risk@fund.test"))
    with pytest.raises(MailError, match=r"failed: .*pm@fund\.test: 550 no such user; risk@") as caught:
        deliver(settings(serve(inbox)), note())
    assert "\n" not in str(caught.value)
    assert not inbox.mails


def test_nothing_goes_out_in_the_clear_when_starttls_is_not_offered(serve):
    inbox = Inbox()
    email = settings(serve(inbox), security="starttls", username="desk", password=Secret(PASSWORD))
    with pytest.raises(MailError, match=r"(?i)starttls"):
        deliver(email, note())
    assert not inbox.mails


def authenticator(seen, accepts):
    def check(server, session, envelope, mechanism, data):
        seen.append((session.ssl is not None, data.login.decode(), data.password.decode()))
        return smtp.AuthResult(success=data.password == accepts.encode(), handled=True)

    return check


@pytest.mark.filterwarnings("ignore::UserWarning")  # aiosmtpd warns of authentication without TLS
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_the_password_goes_over_tls(serve, certificate, security):
    inbox, seen = Inbox(), []
    asks = {"authenticator": authenticator(seen, PASSWORD), "auth_required": True}
    if security == "tls":
        port = serve(inbox, ssl_context=certificate, auth_require_tls=False, **asks)
    else:
        port = serve(inbox, tls_context=certificate, require_starttls=True, **asks)
    email = settings(
        port, security=security, validate_certificates=False, username="desk", password=Secret(PASSWORD)
    )
    assert deliver(email, note()) == 2
    ((_, login, password),) = seen
    assert (login, password) == ("desk", PASSWORD)
    assert len(inbox.mails) == 1


def test_a_certificate_nobody_vouches_for_is_refused(serve, certificate):
    inbox = Inbox()
    port = serve(inbox, tls_context=certificate, require_starttls=True)
    with pytest.raises(MailError, match=r"(?i)certificate"):
        deliver(settings(port, security="starttls"), note())
    assert not inbox.mails


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_password_that_is_refused_is_not_repeated(serve, certificate):
    def check(server, session, envelope, mechanism, data):
        return smtp.AuthResult(success=False, handled=False, message=f"535 not {PASSWORD}")

    port = serve(Inbox(), tls_context=certificate, require_starttls=True, authenticator=check)
    email = settings(
        port, security="starttls", validate_certificates=False, username="desk", password=Secret(PASSWORD)
    )
    with pytest.raises(MailError, match="535") as caught:
        deliver(email, note())
    assert PASSWORD not in str(caught.value)


def test_a_server_that_is_not_there_is_one_line():
    with socket.socket() as taken:  # Bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(MailError, match=f"sending the e-mail failed: 127.0.0.1:{port}"):
            deliver(settings(port), note())


def test_one_deadline_covers_everything():
    silent = socket.create_server(("127.0.0.1", 0))  # Accepts and never says a word
    with silent, pytest.raises(MailError, match=r"not done within 0\.3 s"):
        deliver(settings(silent.getsockname()[1], timeout_seconds=0.3), note())


def test_settings_are_complete_without_alerts_being_enabled():
    require_settings(settings(25))
    with pytest.raises(ConfigError, match=r"email\.recipients"):
        require_settings(settings(25, recipients=()))
