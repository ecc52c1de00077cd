"""Sending one mail of a command as the settings `email` say, and saying in one line why it failed."""

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

from engine.errors import ConfigError, SmallcapError
from scripts.interrupts import run_interruptible

if TYPE_CHECKING:
    from config.settings import Email


class MailError(SmallcapError):
    """A mail did not reach everyone it was for. The run's results are not affected (exit code 1)."""


def require_settings(email: Email) -> None:
    """Raise ConfigError for settings that no mail can be sent with: before the run, not after it."""
    from reports.mail import addresses

    missing = [key for key in ("smtp_server", "sender", "recipients") if not getattr(email, key)]
    if email.password is not None and email.username is None:
        missing.append("username")
    if missing:
        raise ConfigError(f"--email needs {', '.join(f'email.{key}' for key in missing)}, not set")
    addresses(email)


def deliver(email: Email, message: EmailMessage) -> int:
    """Send a mail; return the number of recipients. MailError, in one line, unless it reached them all."""
    from monitors.smtp import OF_RECIPIENT, send

    server = f"{email.smtp_server}:{email.smtp_port}"
    total = len(email.recipients)
    failures = run_interruptible(send(email, message, email.recipients))
    if not failures:
        return total
    reasons = {failure.reason for failure in failures.values()}
    each = "; ".join(f"{address}: {failure.reason}" for address, failure in failures.items())
    if len(failures) < total:
        raise MailError(f"the e-mail was sent to {total - len(failures)} of {total}; {server} refused {each}")
    refused = any(failure.trouble in OF_RECIPIENT for failure in failures.values())
    raise MailError(f"sending the e-mail failed: {server}: {each if refused else reasons.pop()}")
