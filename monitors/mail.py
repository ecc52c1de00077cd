"""Alerts as an e-mail: plain text, the same as HTML, and a small chart; the daily word that all is well.

1. Only `EmailMessage` makes headers, and every text from outside is printable and cut: nothing in the data
   can start a header, forge a line or bring markup.
2. A mail that is sent again has the same Message-ID and the same `X-Alert-Key` headers, and says in its
   subject and its first line that it may be a repeat.
3. Each alert says when it was seen and when it was detected, the mail when it was sent, and if that was late.
4. A mail names the sessions that it is about. One about a replay says so in its subject and its first line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, NamedTuple

from engine.counted import counted
from monitors.alerts import Transition
from monitors.chart import HEIGHT, WIDTH, line_chart
from monitors.digest import Digest, Item
from monitors.wording import clean, facts, headline, moment, number, span, state_word
from reports.formats import escape
from reports.mail import addresses, printable

if TYPE_CHECKING:
    from config.settings import Email

LATE_NS = 10 * 60 * 1_000_000_000
DETAILED = 12  # alerts told in full; the rest take a line each
KEYS_SHOWN = 6  # of one alert, in the text
_SUBJECT_MAX = 150
_REPEAT = "may be a repeat"
_HEAD = (
    '<meta name="viewport" content="width=device-width">'
    "<style>body{font:14px sans-serif;color:#222;overflow-wrap:anywhere}img{max-width:100%;height:auto}"
    "td{padding:1px 10px 1px 0;vertical-align:top}"
    "td:first-child{color:#777;white-space:nowrap}h3{margin:18px 0 4px}small{color:#777}</style>"
)


class Envelope(NamedTuple):
    """What a mail is sent with, beside what it says."""

    message_id: str
    recipients: tuple[str, ...]  # everyone the mail is for
    repeat: bool  # an earlier attempt may have arrived
    sent_ns: int
    footer: str = ""  # one line: how far the journal had come
    recorded_ns: int | None = None  # when the first of it was detected, by the machine's clock
    replayed: bool = False  # what it says is history


def alert_mail(email: Email, told: Digest, envelope: Envelope) -> EmailMessage:
    """Return the mail about some alerts."""
    first = told.items[0].newest
    more = len(told.all_items) - 1
    reminder = "(still open) " if first.label.startswith("repeat") else ""
    subject = f"{first.severity.upper()} {reminder}{headline(first)}" + (f" (+{more} more)" if more else "")
    if envelope.replayed:
        subject = f"REPLAY {' to '.join(told.sessions)} {subject}"
    mail = _message(email, envelope, subject)
    for key in told.notif_keys:
        mail["X-Alert-Key"] = key
    lead = _lead(told, envelope)
    mail.set_content(_text(told, lead, envelope.footer))
    charted = next((item.newest for item in told.items if len(item.newest.history) > 1), None)
    cid = f"chart.{envelope.message_id.strip('<>')}"
    mail.add_alternative(_html(told, lead, envelope.footer, charted, cid), subtype="html")
    if charted is not None:
        png = line_chart(charted.history, charted.threshold, downward=charted.rule == "drawdown")
        page = mail.get_payload()[1]  # type: ignore[index]
        page.add_related(png, "image", "png", cid=f"<{cid}>", disposition="inline")  # type: ignore[union-attr]
    return mail


def notice_mail(email: Email, subject: str, body: str, envelope: Envelope) -> EmailMessage:
    """Return a mail with a body of its own."""
    mail = _message(email, envelope, subject)
    lines = [clean(line) for line in body.split("\n")]
    mail.set_content("\n".join([*_repeat_line(envelope), *lines, "", *_footer(envelope.footer), ""]))
    return mail


def _message(email: Email, envelope: Envelope, subject: str) -> EmailMessage:
    sender, *_ = addresses(email)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = [Address(addr_spec=one) for one in envelope.recipients]
    marked = f"[{_REPEAT}] {subject}" if envelope.repeat else subject
    mail["Subject"] = printable(f"{email.subject_prefix} {marked}").strip()[:_SUBJECT_MAX]
    mail["Date"] = format_datetime(datetime.fromtimestamp(envelope.sent_ns // 1_000_000_000, UTC))
    mail["Message-ID"] = envelope.message_id
    mail["Auto-Submitted"] = "auto-generated"
    if envelope.repeat:
        mail["X-Alert-Repeat"] = "possible"
    return mail


def _lead(told: Digest, envelope: Envelope) -> list[str]:
    over = sum(item.newest.resolved for item in told.all_items)
    alerts = counted(len(told.all_items), "alerts") + (f", {over} of them over" if over else "")
    lines = [*_repeat_line(envelope)]
    if envelope.replayed:
        lines.append("REPLAY: this is history; what rests on bars is dated by them.")
    waited_ns = 0 if envelope.recorded_ns is None else envelope.sent_ns - envelope.recorded_ns
    if waited_ns > LATE_NS:
        lines.append(f"LATE: sent {span(waited_ns)} after the first of it was detected.")
    named = "sessions" if len(told.sessions) > 1 else "session"
    sessions = f"; {named} {' to '.join(told.sessions)}" if told.sessions else ""
    lines.append(f"{alerts}{sessions}. Sent {moment(envelope.sent_ns)}.")
    return lines


def _repeat_line(envelope: Envelope) -> list[str]:
    return [f"This {_REPEAT}: an earlier attempt to send it may have arrived."] if envelope.repeat else []


def _footer(line: str) -> list[str]:
    return ["--", clean(line)] if line else []


def _text(told: Digest, lead: Sequence[str], footer: str) -> str:
    lines = [*lead]
    detailed, brief = _cut(told)
    for item in detailed:
        one = item.newest
        lines += ["", f"{one.severity.upper()} ({state_word(one)})  {headline(one)}"]
        lines += [f"  {name:<10}{text}" for name, text in facts(item)]
        lines.append(f"  {'key':<10}{_keys(item)}")
    if brief:
        lines += ["", "Also:"]
        lines += [f"  {_line(item)}" for item in brief]
    if told.listed:
        lines += ["", "Listed under the above and not mailed by itself: what rests on doubtful data"]
        lines += [f"  {_line(item)}" for item in told.listed]
    lines += ["", "To stop reminders: python main.py alerts ack KEY (its first letters are enough)", ""]
    return "\n".join([*lines, *_footer(footer), ""])


def _html(told: Digest, lead: Sequence[str], footer: str, charted: Transition | None, cid: str) -> str:
    parts = [f"<p>{escape(line)}</p>" for line in lead]
    detailed, brief = _cut(told)
    for item in detailed:
        one = item.newest
        parts.append(f"<h3>{escape(f'{one.severity.upper()} ({state_word(one)}) {headline(one)}')}</h3>")
        if one is charted:
            parts.append(_picture(one, cid))
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in facts(item)
        )
        parts.append(f"<table>{rows}</table><br><small>key {escape(_keys(item))}</small>")
    for title, items in (("Also", brief), ("Rests on doubtful data, not mailed by itself", told.listed)):
        if items:
            listed = "".join(f"<li>{escape(_line(item))}</li>" for item in items)
            parts.append(f"<h3>{title}</h3><ul>{listed}</ul>")
    parts.append("<p>To stop reminders: <code>python main.py alerts ack KEY</code></p>")
    if footer:
        parts.append(f"<p><small>{escape(clean(footer))}</small></p>")
    body = "\n".join(parts)
    return f"<!DOCTYPE html>\n<html><head>{_HEAD}</head>\n<body>{body}</body></html>\n"


def _picture(one: Transition, cid: str) -> str:
    shown = counted(len(one.history), "sessions")
    said = f"{headline(one)}; the last {shown}, dashed: {number(one.threshold, one.unit)}"
    return (
        f'<img src="cid:{cid}" width="{WIDTH // 2}" height="{HEIGHT // 2}" alt="{escape(said)}">'
        f"<br><small>{escape(said)}</small>"
    )


def _cut(told: Digest) -> tuple[Sequence[Item], Sequence[Item]]:
    return told.items[:DETAILED], told.items[DETAILED:]


def _line(item: Item) -> str:
    one = item.newest
    at = f"bar {moment(one.ts_ns)}, detected {moment(one.detected_ns)}"
    return f"{one.severity.upper()} ({state_word(one)}) {headline(one)}; {at}; {_keys(item)}"


def _keys(item: Item) -> str:
    """Return the keys of what was said of an alert; of years of reminders the ends. The headers have all."""
    keys = [step.notif_key for step in item.transitions]
    if len(keys) > KEYS_SHOWN:
        keys = [keys[0], f"and {len(keys) - 2} more to", keys[-1]]
    return " ".join(keys)
