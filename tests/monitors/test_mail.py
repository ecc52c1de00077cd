"""What a mail says, and that nothing in the data can change what it is."""

from __future__ import annotations

import random
import string
from email import message_from_bytes
from email.mime.text import MIMEText
from email.policy import default
from math import nan

import pytest

from config.settings import Email
from monitors.alerts import Contribution, Episode
from monitors.digest import digest
from monitors.mail import LATE_NS, Envelope, alert_mail, notice_mail
from monitors.wording import moment
from tests.monitors.post import START_NS, transition
from tests.reports.browser import browser

NIGHTLY = [pytest.mark.nightly, pytest.mark.timeout(3_600)]  # Minutes of work, more on a busy machine
EMAIL = Email(
    enabled=True, smtp_server="x", sender="desk@fund.test", recipients=("pm@fund.test", "risk@fund.test")
)
ENVELOPE = Envelope("<abc@fund.test>", EMAIL.recipients, False, START_NS + 5_000_000_000, "journal row 7")
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Alert-Key", "MIME-Version",
    "Content-Type",
}  # fmt: skip


def received(mail):
    return message_from_bytes(bytes(mail), policy=default)


def bodies(mail):
    return [received(mail).get_body((kind,)).get_content() for kind in ("plain", "html")]


def drawdown(**changes):
    known = {
        "rule": "drawdown", "subject": "portfolio", "severity": "critical", "value": 0.214, "threshold": 0.2,
        "clear_level": 0.07, "next_level": 0.25, "previous": 0.182, "value_fired": 0.104, "label": "worse-3",
        "drawdown": Episode(
            peak_session="2023-11-01", peak=112_400.0, trough_session="2024-01-02", trough=88_346.4
        ),
        "contributors": (Contribution("ACME", -5_100.0),), "history": (0.0, 0.1, 0.182, 0.214),
        "regime": "bear", "feed_age_s": 61.0, "since_ns": START_NS - 3 * 86_400 * 10**9,
    }  # fmt: skip
    return transition(1, **{**known, **changes})


def test_a_mail_says_what_how_much_against_which_limit_since_when_what_before_and_what_to_look_at():
    mail = alert_mail(EMAIL, digest([drawdown()]), ENVELOPE)
    assert received(mail)["Subject"] == "[smallcap] CRITICAL Drawdown: 21.4%, limit 20.0%"
    for body in bodies(mail):
        for said in (
            "Drawdown: 21.4%, limit 20.0%",
            "18.2% at the session before (rising), 10.4% when it began",
            f"{moment(START_NS - 3 * 86_400 * 10**9)}, 3 d 0 h in the band",
            "worse at 25.0% (3.6 points left), over at 7.0%",
            "112,400.00 on 2023-11-01, trough 88,346.40 on 2024-01-02 (-21.4%)",
            "ACME -$5,100",
            "what lost most since the peak",
            "bear",
            f"bar of {moment(START_NS - 3_000_000_000)}, detected {moment(START_NS)}",
            f"Sent {moment(ENVELOPE.sent_ns)}",
            drawdown().notif_key,
            "journal row 7",
        ):
            assert said in body


def test_the_chart_is_inside_the_mail_and_shown_by_the_page():
    mail = received(alert_mail(EMAIL, digest([drawdown()]), ENVELOPE))
    (image,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    cid = image["Content-ID"].strip("<>")
    assert f'src="cid:{cid}"' in mail.get_body(("html",)).get_content()
    assert image.get_content().startswith(b"\x89PNG\r\n")
    assert "http" not in mail.get_body(("html",)).get_content()


def test_the_kill_switch_is_told_with_its_way_back_and_not_with_the_disk():
    one = transition(1, rule="monitor_degraded", subject="kill switch", detail="stopped by ann")
    plain = bodies(alert_mail(EMAIL, digest([one]), ENVELOPE))[0]
    assert "halt --resume" in plain
    assert "disk" not in plain


def test_without_a_history_there_is_no_chart():
    mail = received(alert_mail(EMAIL, digest([transition(1)]), ENVELOPE))
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip


@pytest.mark.parametrize(("waited_ns", "late"), [(LATE_NS, False), (LATE_NS + 1, True)])
def test_a_late_mail_says_so(waited_ns, late):
    envelope = ENVELOPE._replace(recorded_ns=START_NS, sent_ns=START_NS + waited_ns)
    mail = alert_mail(EMAIL, digest([transition(1)]), envelope)
    assert bodies(mail)[0].startswith("LATE: sent 10 min after") == late


def test_a_mail_names_the_sessions_that_it_is_about():
    one, other = transition(1), transition(2, session="2024-01-05")
    for told, said in (([one], "session 2024-01-02"), ([other, one], "sessions 2024-01-02 to 2024-01-05")):
        for body in bodies(alert_mail(EMAIL, digest(told), ENVELOPE)):
            assert f"; {said}. Sent " in body


def test_a_mail_about_a_replay_says_so_first_of_all():
    mail = alert_mail(EMAIL, digest([drawdown()]), ENVELOPE._replace(replayed=True))
    assert received(mail)["Subject"] == ("[smallcap] REPLAY 2024-01-02 CRITICAL Drawdown: 21.4%, limit 20.0%")
    plain, page = bodies(mail)
    assert plain.startswith("REPLAY: this is history")
    assert "<p>REPLAY: this is history" in page


def test_a_repeat_says_so_in_its_subject_and_first_line_and_keeps_its_names():
    first = received(alert_mail(EMAIL, digest([transition(1)]), ENVELOPE))
    again = received(alert_mail(EMAIL, digest([transition(1)]), ENVELOPE._replace(repeat=True)))
    assert again["Subject"].startswith("[smallcap] [may be a repeat] WARNING")
    assert again.get_body(("plain",)).get_content().startswith("This may be a repeat")
    assert first["Message-ID"] == again["Message-ID"]
    assert first.get_all("X-Alert-Key") == again.get_all("X-Alert-Key")
    assert "repeat" not in first["Subject"]
    assert "repeat" not in first.get_body(("plain",)).get_content()


def test_a_missing_number_is_told_as_unknown():
    mail = alert_mail(EMAIL, digest([drawdown(value=nan, previous=nan)]), ENVELOPE)
    text = bodies(mail)[0]
    assert "Drawdown: unknown, limit 20.0%" in text
    assert "nan" not in text


def payloads(n):
    """Yield texts that try to start headers, bodies, markup or other lines."""
    draw = random.Random(7)
    pieces = [
        "\r\n", "\n", "\r", "\r\n\r\n", "\x00", "\x0b", "\x0c", "\x1b[2J", "\x85", "\u2028", "\u2029",
        "Bcc: all@elsewhere.test", "Subject: all clear", "X-Alert-Key: forged", "Content-Type: text/html",
        "--===============", "<script>alert(1)</script>", "<img src=x onerror=y>", "&lt;", '"', "'",
        "=?utf-8?q?", "?=", "\u202e", "é", "漢", "\U0001f4c9", ".", "\r\n.\r\n", "QUIT", "\t", " ",
    ]  # fmt: skip
    letters = string.ascii_letters + string.digits
    for _ in range(n):
        yield "".join(
            draw.choice(pieces) if draw.random() < 0.6 else draw.choice(letters)
            for _ in range(draw.randint(1, 12))
        )


N_LINES = len(bodies(alert_mail(EMAIL, digest([transition(1)]), ENVELOPE))[0].splitlines())


def forged(mail, subject):
    """Return whether a mail about a subject is anything but what it should be."""
    arrived = received(mail)
    if set(arrived.keys()) != HEADERS or arrived["To"] != ", ".join(EMAIL.recipients):
        return True
    keys = arrived.get_all("X-Alert-Key")
    body, page = (arrived.get_body((kind,)).get_content() for kind in ("plain", "html"))
    return (
        keys != [transition(1, subject=subject).notif_key]
        or not arrived["Subject"].strip().startswith("[smallcap] WARNING Single-name concentration")
        or len(body.splitlines()) != N_LINES
        or "<script" in page
        or "<img" in page
    )


@pytest.mark.parametrize("n", [200, pytest.param(10_000, marks=NIGHTLY)])
def test_no_text_from_outside_makes_a_header_a_line_or_markup(n):
    made = [
        text
        for text in payloads(n)
        if forged(alert_mail(EMAIL, digest([transition(1, subject=text)]), ENVELOPE), text)
    ]
    print(f"mail: {n} texts from outside, {len(made)} made a header, a line or markup")
    assert made == []


@pytest.mark.nightly
def test_no_detail_position_or_regime_makes_a_header_a_line_or_markup():
    for text in (*payloads(2_000), "\ud800"):
        one = drawdown(detail=text, regime=text, contributors=(Contribution(text, -1.0),), history=())
        mail = received(alert_mail(EMAIL, digest([one]), ENVELOPE))
        assert set(mail.keys()) == HEADERS
        assert "<script" not in mail.get_body(("html",)).get_content()


def test_a_mail_made_with_mimetext_is_caught():
    """Planted fault 19: a blank line in its subject ends the headers."""

    def with_mimetext(subject):
        mail = MIMEText("body")
        for name in sorted(HEADERS - {"Content-Type", "MIME-Version", "Subject", "To"}):
            mail[name] = "x"
        mail["Subject"] = f"[smallcap] WARNING Single-name concentration {subject}"
        mail["To"] = ", ".join(EMAIL.recipients)
        return mail

    assert forged(with_mimetext("A\r\n\r\nFAKE BODY: all clear"), "A")
    assert "FAKE BODY" in received(with_mimetext("A\r\n\r\nFAKE BODY: all clear")).get_content()


def test_a_daily_word_keeps_its_lines_and_lets_no_other_in():
    mail = received(notice_mail(EMAIL, "all\r\nBcc: x", "one\ntwo\x85three\r\n\r\nfour", ENVELOPE))
    assert "Bcc" not in mail
    lines = mail.get_body(("plain",)).get_content().splitlines()
    assert lines[:2] == ["one", "two three"]


def test_a_mail_is_no_wider_than_a_telephone(tmp_path):
    long = "NO-SPACE-" * 20
    mail = alert_mail(EMAIL, digest([drawdown(subject=long, regime=long)]), ENVELOPE)
    page = bodies(mail)[1].replace("<html>", '<html data-ready="yes">')
    (tmp_path / "mail.html").write_text(page)
    with browser() as tab:
        tab.resize(400, 800, mobile=True)
        tab.open(tmp_path / "mail.html")
        assert tab.value("document.querySelector('img') !== null")
        assert tab.value("innerWidth") == 400
        assert tab.value("document.documentElement.scrollWidth") <= 400
