"""An SMTP server that does what it is told at each stage, and certificates for it.

Stages: banner, ehlo, mail, rcpt, data, body. A plan maps a stage to a reply, or to one of the acts below; a
plan may be a function of (stage, argument) that returns either, or None for the ordinary reply. The argument
of body is the message.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from functools import cached_property
from pathlib import Path

HANG, DRIP, CUT, GARBAGE, HUGE = "<hang>", "<drip>", "<cut>", "<garbage>", "<huge>"
MESSAGE_MAX = 64 * 2**20
ORDINARY = {
    "banner": "220 test ESMTP", "ehlo": "250 test", "mail": "250 ok", "rcpt": "250 ok", "data": "354 go on",
    "body": "250 kept", "quit": "221 bye", "rset": "250 ok", "starttls": "220 go on",
}  # fmt: skip

Plan = Mapping[str, str] | Callable[[str, str], "str | None"]


@dataclass(frozen=True)
class Received:
    """What one session sent up to the end of a message; `accepted` is what the server said."""

    recipients: tuple[str, ...]
    raw: bytes
    accepted: bool

    @cached_property
    def mail(self) -> EmailMessage:
        return message_from_bytes(self.raw[:-5], policy=default)


class ScriptedServer:
    """Everything that arrived, whether or not it was acknowledged."""

    def __init__(self, plan: Plan, tls: ssl.SSLContext | None, *, offers_starttls: bool) -> None:
        self.plan = plan
        self.received: list[Received] = []
        self.commands: list[str] = []
        self.connections = 0
        self.kept_waiting = False  # somebody, by HANG or DRIP
        self.port = 0
        self._tls = tls
        self._offers = offers_starttls

    @property
    def accepted(self) -> list[Received]:
        return [one for one in self.received if one.accepted]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await self._session(reader, writer)
        writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say(writer, "banner", ""):
            return
        recipients: list[str] = []
        encrypted = writer.get_extra_info("ssl_object") is not None
        while line := (await reader.readline()).decode("utf-8", "replace").strip():
            self.commands.append(line)
            verb, _, argument = line.partition(" ")
            stage = verb.lower()
            if stage == "ehlo" and self._offers and not encrypted and "ehlo" not in self._planned():
                writer.write(b"250-test\r\n250 STARTTLS\r\n")
                continue
            refused = not await self._say(writer, stage, argument)
            if refused and writer.transport.is_closing():
                return
            if stage == "starttls":
                await writer.start_tls(self._tls)
                encrypted = True
            elif stage in ("mail", "rset"):
                recipients = []
            elif stage == "rcpt" and not refused:
                recipients.append(argument.partition("<")[2].partition(">")[0])
            elif stage == "data" and not refused:
                raw = await reader.readuntil(b"\r\n.\r\n")
                act = self._act("body", raw.decode("utf-8", "replace")) or ORDINARY["body"]
                self.received.append(Received(tuple(recipients), raw, act.startswith("250")))
                if not await self._perform(writer, act) and writer.transport.is_closing():
                    return
            elif stage == "quit":
                return

    def _planned(self) -> Mapping[str, str]:
        return {} if callable(self.plan) else self.plan

    def _act(self, stage: str, argument: str) -> str | None:
        return self.plan(stage, argument) if callable(self.plan) else self.plan.get(stage)

    async def _say(self, writer: asyncio.StreamWriter, stage: str, argument: str) -> bool:
        return await self._perform(writer, self._act(stage, argument) or ORDINARY.get(stage, "502 what?"))

    async def _perform(self, writer: asyncio.StreamWriter, act: str) -> bool:
        """Do as told; return whether that was a yes."""
        self.kept_waiting |= act in (HANG, DRIP)
        if act == HANG:
            await asyncio.sleep(3600)
        if act == DRIP:
            for letter in b"2" * 3600:
                writer.write(bytes([letter]))
                await asyncio.sleep(0.02)
        if act == CUT:
            writer.transport.abort()
            return False
        if act == GARBAGE:
            writer.write(b"\x00\xff SSH-2.0 what is this\r\n")
            return False
        if act == HUGE:
            writer.write(b"250 " + b"x" * 1_000_000 + b"\r\n")
            return False
        writer.write(f"{act}\r\n".encode())
        await writer.drain()
        return act[0] in "23"


@asynccontextmanager
async def smtp_server(
    plan: Plan | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    offers_starttls: bool = False,
):
    """Run a server on a port of this machine; what is still connected at the end is cut."""
    server = ScriptedServer(plan or {}, tls, offers_starttls=offers_starttls)
    sessions: set[asyncio.Task[None]] = set()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        sessions.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            sessions.discard(task)

    listener = await asyncio.start_server(
        session, "127.0.0.1", 0, ssl=tls if implicit else None, limit=MESSAGE_MAX
    )
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(sessions):
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        await asyncio.sleep(0.01)  # For the transports to close: one left open is a ResourceWarning


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "ca.crt"
        self._openssl("req", "-x509", *_NEW_KEY, "-subj", "/CN=test CA", "-days", "2", "-keyout", "ca.key",
                      "-out", "ca.crt")  # fmt: skip

    def server(self, name: str, days: int = 2) -> ssl.SSLContext:
        """Return the context of a server with that name (IP:127.0.0.1 or DNS:...); days < 0: expired."""
        (self._folder / "names").write_text(f"subjectAltName={name}\n")
        self._openssl("req", *_NEW_KEY, "-subj", "/CN=server", "-keyout", "key", "-out", "request")
        self._openssl("x509", "-req", "-in", "request", "-CA", "ca.crt", "-CAkey", "ca.key",
                      "-days", str(days), "-extfile", "names", "-out", "cert")  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "cert", self._folder / "key")
        return context

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
