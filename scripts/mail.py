"""Sending one mail as the settings `email` say: over STARTTLS, TLS or neither, within one deadline.

A server that offers no STARTTLS where the settings ask for it gets nothing: neither mail nor password.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from email.message import EmailMessage
from typing import TYPE_CHECKING

from engine.errors import ConfigError, SmallcapError
from scripts.console import one_line

if TYPE_CHECKING:
    from config.settings import Email

_QUIT_SECONDS = 1.0  # The mail is accepted by then; a server slow to say goodbye changes nothing


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
    from aiosmtplib import SMTPException

    server = f"{email.smtp_server}:{email.smtp_port}"
    try:
        refused = asyncio.run(_send(email, message))
    except TimeoutError:
        raise MailError(
            f"sending the e-mail failed: {server}: not done within {email.timeout_seconds:g} s"
        ) from None
    except (SMTPException, OSError, ValueError) as error:
        raise MailError(f"sending the e-mail failed: {server}: {_told(error, email)}") from None
    total = len(email.recipients)
    if refused:
        reasons = "; ".join(f"{address}: {reason}" for address, reason in refused.items())
        sent = total - len(refused)
        raise MailError(f"the e-mail was sent to {sent} of {total}; {server} refused {one_line(reasons)}")
    return total


async def _send(email: Email, message: EmailMessage) -> dict[str, str]:
    """Return why recipients were refused, by address."""
    from aiosmtplib import SMTP

    password = email.password.reveal() if email.password is not None else None
    client = SMTP(
        hostname=email.smtp_server,
        port=email.smtp_port,
        username=email.username if password is not None else None,
        password=password,
        local_hostname=socket.gethostname(),  # The default looks itself up in the DNS
        timeout=email.timeout_seconds,
        use_tls=email.security == "tls",
        start_tls=email.security == "starttls",  # Never None: that goes on in the clear if not offered
        validate_certs=email.validate_certificates,
    )
    try:
        async with asyncio.timeout(email.timeout_seconds):
            await client.connect()
            refused, _ = await client.send_message(message)
        with contextlib.suppress(Exception):
            await client.quit(timeout=_QUIT_SECONDS)
    finally:
        client.close()
    return {address: f"{reply.code} {reply.message}" for address, reply in refused.items()}


def _told(error: Exception, email: Email) -> str:
    """Return what went wrong, in one line and without the password, which a server may repeat."""
    from aiosmtplib import SMTPRecipientsRefused, SMTPResponseException

    if isinstance(error, SMTPRecipientsRefused):
        text = "; ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)
    elif isinstance(error, SMTPResponseException):
        text = f"{error.code} {error.message}"
    else:
        text = str(error) or type(error).__name__
    secret = email.password.reveal() if email.password is not None else ""
    return one_line(text.replace(secret, "***") if secret else text)
