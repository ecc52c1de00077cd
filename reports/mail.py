"""The summary of a run as an e-mail: plain text, and the same as HTML. Made of the run's record alone.

Names from files may hold anything. Control characters are taken out of all text, so that none of it can
start another header or forge a line; addresses are parsed, so that one setting is one recipient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.counted import counted
from engine.errors import ConfigError
from reports.formats import escape, table
from reports.metrics import HEADLINE

if TYPE_CHECKING:
    from config.settings import Email

TITLES = ("final equity", "return", "CAGR", "max DD", "Sharpe")
_SHAPES = {"final_equity": ",.2f", "sharpe": ".2f"}
_KINDS = ("bars", "signals", "orders", "fills", "trades", "rejections")
_STYLE = (
    "<style>body{font:14px sans-serif}table{border-collapse:collapse}"
    "td,th{padding:3px 10px;text-align:right;border-bottom:1px solid #ccc}"
    "td:first-child,th:first-child{text-align:left}</style>"
)


def message(
    email: Email, manifest: Mapping[str, Any], *, folder: Path | None = None, names: Sequence[str] = ()
) -> EmailMessage:
    """Return the mail about a run. manifest: what `run.json` says of it; names: its files in `folder`."""
    lead, rows, remarks = _title(manifest), _rows(manifest), _remarks(manifest, folder, names)
    mail = new_mail(email, lead)
    mail.set_content(_text(lead, rows, remarks))
    mail.add_alternative(_html(lead, rows, remarks), subtype="html")
    return mail


def new_mail(email: Email, subject: str) -> EmailMessage:
    """Return a mail with its headers, without content. Raises ConfigError."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], *mail_to = addresses(email)
    mail["To"] = mail_to
    mail["Subject"] = printable(f"{email.subject_prefix} {subject}").strip()
    mail["Date"] = format_datetime(datetime.now(UTC))
    # With a domain of its own: otherwise the name of this machine is looked up, and told to everyone
    mail["Message-ID"] = make_msgid("smallcap", domain=mail["From"].addresses[0].domain)
    return mail


def addresses(email: Email) -> list[Address]:
    """Return the sender and the recipients. ConfigError for one that no mail can be addressed to."""
    found = []
    for address in (email.sender or "", *email.recipients):
        try:
            found.append(Address(addr_spec=address))
        except (MessageError, ValueError, IndexError):
            raise ConfigError(f"email: {address!r} is no address that mail can be sent to") from None
    return found


def printable(text: str) -> str:
    """Return text in one line without control characters, halves of surrogate pairs and the like."""
    return "".join(c if c.isprintable() else " " for c in text)


def _title(manifest: Mapping[str, Any]) -> str:
    data, ours = manifest["data"], manifest["metrics"]["combined"]
    stopped = " (interrupted)" if manifest.get("interrupted") else ""
    return printable(
        f"Backtest {data['first']} to {data['last']}{stopped}: return {_cell(ours, 'total_return', '+.1%')},"
        f" max drawdown {_cell(ours, 'max_drawdown')}"
    )


def _rows(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return the headline figures of every strategy, of all together and of the benchmark."""
    return [
        [printable(name.replace("_", " ")), *(_cell(figures, key) for key in HEADLINE)]
        for name, figures in manifest["metrics"].items()
    ]


def _cell(figures: Mapping[str, float | None], name: str, shape: str | None = None) -> str:
    value = figures.get(name)
    return "-" if value is None else format(value, shape or "z" + _SHAPES.get(name, ".1%"))


def _remarks(manifest: Mapping[str, Any], folder: Path | None, names: Sequence[str]) -> list[str]:
    data, counts = manifest["data"], manifest["counts"]
    other_days = manifest.get("benchmark_days")
    remarks = [
        *(["benchmark: over {} to {} alone, where it has prices".format(*other_days)] if other_days else ()),
        f"{data['source']}: {counted(data['rows'], 'rows')} x {counted(data['symbols'], 'symbols')},"
        f" {manifest['mode']} mode",
        ", ".join(counted(counts[kind], kind) for kind in _KINDS)
        + f", {counted(len(manifest['open_positions']), 'positions')} open",
        *(f"{name} did not trade: {why}" for name, why in manifest["untraded"].items()),
        f"written to {folder}: {', '.join(names)}" if folder else "no files were written (no --output-dir)",
        f"event log {manifest['event_log_hash']}",
    ]
    return [printable(remark) for remark in remarks]


def _text(lead: str, rows: list[list[str]], remarks: list[str]) -> str:
    grid = [["", *TITLES], *rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "  ".join(
            cell.ljust(n) if i == 0 else cell.rjust(n)
            for i, (cell, n) in enumerate(zip(row, widths, strict=True))
        )
        for row in grid
    ]
    return "\n".join([lead, "", *lines, "", *remarks, ""])


def _html(lead: str, rows: list[list[str]], remarks: list[str]) -> str:
    figures = table(["", *TITLES], [[escape(cell) for cell in row] for row in rows])
    said = "\n".join(f"<p>{escape(remark)}</p>" for remark in remarks)
    return (
        f"<!DOCTYPE html>\n<html><head>{_STYLE}</head>\n"
        f"<body><h3>{escape(lead)}</h3>\n{figures}\n{said}</body></html>\n"
    )
