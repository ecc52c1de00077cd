"""Sending one message by SMTP within one deadline, and what a failure means for each recipient.

1. The connection is encrypted and the server's certificate checked before anything is said, as the settings
   demand; a server that offers no STARTTLS gets nothing: neither mail nor password.
2. A failure before the message was handed over is safe to repeat. One between that and the server's answer is
   ambiguous: the message may have arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import aiosmtplib

if TYPE_CHECKING:
    from config.settings import Email

_QUIT_S = 1.0  # The mail is accepted by then; a server slow to say goodbye changes nothing
_REASON_MAX = 300  # A server's words are cut there


class Trouble(Enum):
    """Why a recipient has not got the message, by what to do about it."""

    SERVER = "server"  # it cannot be reached, or takes nothing at present: everything waits
    SETTINGS = "settings"  # encryption, certificate, login or sender are refused: a person must act
    GARBAGE = "garbage"  # it speaks no SMTP: a few more attempts
    AMBIGUOUS = "ambiguous"  # the connection ended before it answered: it may have arrived
    MAIL_LATER = "mail later"  # it does not take this message now
    MAIL_NEVER = "mail never"  # it will not take this message
    RECIPIENT_LATER = "recipient later"  # greylisted, mailbox busy
    RECIPIENT_NEVER = "recipient never"  # no such user


OF_RECIPIENT = (Trouble.RECIPIENT_LATER, Trouble.RECIPIENT_NEVER)
# Whatever they answer: a login or a command that is missing before it (RFC 5321 and 4954)
_OF_SESSION = (500, 502, 503, 530, 534, 535, 538)


class Failure(NamedTuple):
    trouble: Trouble
    reason: str  # one line, without the password


class Client(aiosmtplib.SMTP):
    """Knows whether the message itself was on its way, and is closed at once."""

    handed_over = False

    def close(self) -> None:
        """Cut the connection. TLS would wait half a minute for the goodbye of a server that says none."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()
        super().close()

    async def data(self, *arguments: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        self.handed_over = self.is_connected  # A 421 before has closed it
        return await super().data(*arguments, **options)


async def probe(email: Email) -> Failure | None:
    """Connect, encrypt and part; return why no mail could be sent now, None when nothing speaks against it.

    Nobody logs in: a server that counts logins need not count these.
    """
    client = _client(email, password=None)
    try:
        async with asyncio.timeout(email.timeout_seconds):
            await client.connect()
            await client.ehlo()
        with contextlib.suppress(Exception):
            await client.quit(timeout=_QUIT_S)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        return Failure(_trouble(error, handed_over=False), _told(error, email, None))
    finally:
        client.close()
    return None


async def send(email: Email, message: EmailMessage, recipients: Sequence[str]) -> dict[str, Failure]:
    """Send a message; return the recipients that did not get it, and why. At most `timeout_seconds` long."""
    password = email.password.reveal() if email.password is not None else None
    client = _client(email, password)
    try:
        async with asyncio.timeout(email.timeout_seconds):
            await client.connect()
            refused, _ = await client.send_message(message, sender=email.sender, recipients=list(recipients))
        with contextlib.suppress(Exception):
            await client.quit(timeout=_QUIT_S)
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            return {one.recipient: _refused(one.code, one.message, password) for one in error.recipients}
        failure = Failure(_trouble(error, client.handed_over), _told(error, email, password))
        return dict.fromkeys(recipients, failure)
    finally:
        client.close()
    return {address: _refused(reply.code, reply.message, password) for address, reply in refused.items()}


def was_cancelled() -> bool:
    """Whether this task was asked to end: `asyncio.wait_for` of Python 3.11, used below, can swallow that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _client(email: Email, password: str | None) -> Client:
    return Client(
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


def _refused(code: int, message: str, password: str | None) -> Failure:
    if code in _OF_SESSION:
        trouble = Trouble.SETTINGS
    else:
        trouble = Trouble.RECIPIENT_LATER if code < 500 else Trouble.RECIPIENT_NEVER
    return Failure(trouble, _line(f"{code} {message}", password))


def _trouble(error: Exception, handed_over: bool) -> Trouble:
    match error:
        case aiosmtplib.SMTPDataError(code=code) if 0 < code < 400:  # Not the answer of the standard
            return Trouble.AMBIGUOUS
        case aiosmtplib.SMTPDataError(code=code) if code > 0 and code not in _OF_SESSION:
            return Trouble.MAIL_LATER if code < 500 else Trouble.MAIL_NEVER
        case aiosmtplib.SMTPResponseException(code=code) if code < 0:  # No reply that could be parsed
            return Trouble.AMBIGUOUS if handed_over else Trouble.GARBAGE
        case aiosmtplib.SMTPResponseException(code=code):  # Of banner, EHLO, login or sender
            return Trouble.SERVER if code < 500 else Trouble.SETTINGS
    if isinstance(error, (aiosmtplib.SMTPTimeoutError, TimeoutError, ConnectionError, OSError)):
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error)):
            return Trouble.SETTINGS
        return Trouble.AMBIGUOUS if handed_over else Trouble.SERVER
    if isinstance(error, aiosmtplib.SMTPException):  # Neither STARTTLS nor a login, where one is asked for
        return Trouble.SETTINGS
    return Trouble.MAIL_NEVER  # An address or a header that cannot be sent


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _told(error: Exception, email: Email, password: str | None) -> str:
    if type(error) is TimeoutError or isinstance(error, aiosmtplib.SMTPReadTimeoutError):
        return f"not done within {email.timeout_seconds:g} s"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _line(f"{error.code} {error.message}", password)
    return _line(str(error) or type(error).__name__, password)


def _line(text: str, password: str | None) -> str:
    """Return a server's words in one line, without the password, which it may repeat."""
    shown = text.replace(password, "***") if password else text
    return "".join(c if c.isprintable() else " " for c in shown)[:_REASON_MAX]
