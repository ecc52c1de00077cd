"""The mail relay: sends what the outbox holds, one mail at a time, until it is delivered or given up.

1. Only committed rows are sent, and a row is `sending` on the disk before its first byte goes out.
2. What waits goes into one mail: `GROUP_S` after the first of it, and at most 3 mails a minute per recipient.
   While the server fails nothing is composed, so what piles up is told together, with its own times.
   Of a replay, where years may pass meanwhile, it waits for `REPLAY_GROUP_S` or for the end.
3. Pauses are 30 s, 15 min, then 30 min, a little longer at random; a refused recipient waits 5 min or more.
   After 5 days a delivery is given up, which is an alert of its own and is told on the second channel.
4. The second channel (`tell`: the log, the stream) hears of trouble when it begins and when it ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import MsgspecError, msgpack

from config.settings import Email
from engine.clock import Clock
from monitors import outbox
from monitors.alerts import RULES, Transition, alert_key
from monitors.digest import Item, digest
from monitors.mail import Envelope, alert_mail, notice_mail
from monitors.outbox import Due
from monitors.smtp import Failure, Trouble, send, was_cancelled
from monitors.wording import clean, facts, headline

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]

GROUP_S, REPLAY_GROUP_S = 5.0, 60.0
MAILS_PER_MINUTE = 3
ROWS_MAX = 500  # transitions in one mail
PAYLOAD_MAX = 64 * 1024  # bytes of one transition
PAUSES_S = (30.0, 900.0, 1800.0)
GREYLIST_S = 300.0
JITTER = 0.1
MINUTE_NS = 60 * 1_000_000_000
GIVE_UP_NS = 5 * 86_400 * 1_000_000_000
GIVE_UP_TRIES = 4  # in a row at least: after days of standing still the network may not be there at once
DOUBTS_MAX = 8  # attempts without an intelligible reply: each may be one more copy
REST_S_MIN, REST_S_MAX = 0.01, 60.0
_NEW_YORK = ZoneInfo("America/New_York")
_OF_SERVER = (Trouble.SERVER, Trouble.SETTINGS, Trouble.GARBAGE, Trouble.AMBIGUOUS)


class RelayStatus(NamedTuple):
    """How the relay stands."""

    failing_since_ns: int | None  # no mail can be sent since then
    reason: str
    n_sent: int  # deliveries since the start
    last_sent_ns: int | None


class Daily(NamedTuple):
    """The daily word: a subject and lines of text."""

    subject: str
    body: str


class Relay:
    """Sends mails from one store. `tell(severity, text)` is the second channel.

    transaction: a transaction on the store; nothing is awaited within. wake: set after each commit with
    transitions. daily, footer: what the monitor says of itself, asked when a mail is made. replayed: the
    alerts are those of history, and each mail says so.
    """

    def __init__(
        self,
        transaction: Transaction,
        email: Email,
        *,
        portfolio: str,
        clock: Clock,
        tell: Callable[[str, str], None],
        wake: asyncio.Event,
        daily: Callable[[], Daily] | None = None,
        footer: Callable[[], str] = str,
        replayed: bool = False,
    ) -> None:
        self.email = email  # may be replaced while it runs
        self._transaction = transaction
        self._portfolio = portfolio
        self._clock = clock
        self._tell = tell
        self._wake = wake
        self._daily = daily
        self._footer = footer
        self._replayed = replayed
        self._group_s = REPLAY_GROUP_S if replayed else GROUP_S
        self._waiting_s: float | None = None  # since when something waits for a mail, monotonic
        self._server_due_s = 0.0  # nothing is sent before, monotonic
        self._n_failures = 0  # of the server, in a row
        self._taken: dict[str, deque[float]] = {}  # when a recipient's last mails were sent, monotonic
        self._status = RelayStatus(None, "", 0, None)

    @property
    def status(self) -> RelayStatus:
        return self._status

    def hurry(self) -> None:
        """Group no longer than usual: the replay has ended."""
        self._group_s = GROUP_S
        self._wake.set()

    async def run(self) -> None:
        """Send for ever. What is under way when it is cancelled stays `sending`: to be repeated, marked."""
        self.start()
        while not was_cancelled():
            self._wake.clear()
            await self._rest(await self.step())
        raise asyncio.CancelledError

    def start(self) -> None:
        """Take up what a process before left under way, and how many mails it had sent lately."""
        now_s, now_ns = self._clock.monotonic_s(), self._clock.now_ns()
        with self._transaction() as connection:
            outbox.recover(connection)
            lately = outbox.sent_since(connection, now_ns - MINUTE_NS)
        for recipient, at_ns in lately:
            ago_s = max((now_ns - at_ns) / 1e9, 0.0)  # A clock that was set back
            self._note_taken(recipient, now_s - ago_s)

    async def step(self) -> float:
        """Send everything that may go out now; return the seconds until there may be more to do."""
        if not self.email.enabled:
            with self._transaction() as connection:
                outbox.hold(connection)
            return REST_S_MAX
        while not was_cancelled() and (due := self._next()) is not None:
            await self._send(due)
        return self._seconds_to_rest()

    def _next(self) -> Due | None:
        """Return what to send now, composed if need be."""
        now_s, now_ns = self._clock.monotonic_s(), self._clock.now_ns()
        if now_s < self._server_due_s:
            return None
        blocked = [one for one in self._taken if self._free_in(one, now_s) > 0]
        with self._transaction() as connection:
            self._compose_daily(connection, now_ns)
            stats = outbox.stats(connection)
            probing = self._n_failures > 0 and stats.open > 0  # With a mail that was tried before
            if not stats.waiting:
                self._waiting_s = None
            elif self._waiting_s is None:
                self._waiting_s = now_s
            elif now_s >= self._waiting_s + self._group_s and not blocked and not probing:
                self._waiting_s = None
                outbox.compose(
                    connection, self.email.recipients, domain=self._domain, now_ns=now_ns, rows_max=ROWS_MAX
                )
            return outbox.due(connection, now_ns, blocked=blocked)

    async def _send(self, due: Due) -> None:
        message = await self._message(due)
        if message is None:
            return
        with self._transaction() as connection:
            outbox.start(connection, due.mail_id, due.recipients)
        failures = await send(self.email, message, due.recipients)
        self._settle(due, failures)

    async def _message(self, due: Due) -> EmailMessage | None:
        """Return the mail, None when nothing of it can be told."""
        with self._transaction() as connection:
            notice = outbox.notice_of(connection, due.mail_id)
            rows = outbox.transitions_of(connection, due.mail_id)
            everyone = outbox.recipients_of(connection, due.mail_id)
        envelope = Envelope(
            due.message_id, everyone, due.repeat, self._clock.now_ns(), self._footer(),
            recorded_ns=min((at_ns for _, at_ns, _ in rows), default=None), replayed=self._replayed,
        )  # fmt: skip
        if notice is not None:
            return notice_mail(self.email, *notice, envelope)
        told = [(row, *_readable(payload)) for row, _, payload in rows]
        for row, transition, problem in told:
            if transition is None:
                self._bury(row, problem)
        good = [transition for _, transition, _ in told if transition is not None]
        if not good:
            with self._transaction() as connection:
                for recipient in due.recipients:
                    outbox.give_up(
                        connection, due.mail_id, recipient, now_ns=envelope.sent_ns, error="nothing to tell"
                    )
            return None
        # A digest of hundreds takes long enough to be felt by the loop
        return await asyncio.to_thread(alert_mail, self.email, digest(good), envelope)

    def _settle(self, due: Due, failures: dict[str, Failure]) -> None:
        """Record the outcome for each recipient."""
        now_s, now_ns = self._clock.monotonic_s(), self._clock.now_ns()
        attempt = due.attempts + 1
        of_server = [one for one in failures.values() if one.trouble in _OF_SERVER]
        if of_server:
            self._server_fails(of_server[0])
        else:
            self._server_works()
        for recipient in due.recipients:
            failure = failures.get(recipient)
            if failure is None or failure.trouble is Trouble.AMBIGUOUS:
                self._note_taken(recipient, now_s)
            if failure is None:
                with self._transaction() as connection:
                    outbox.sent(connection, due.mail_id, recipient, now_ns)
                self._status = self._status._replace(n_sent=self._status.n_sent + 1, last_sent_ns=now_ns)
            else:
                self._settle_failure(due, recipient, failure, attempt, now_ns)

    def _settle_failure(self, due: Due, recipient: str, failure: Failure, attempt: int, now_ns: int) -> None:
        trouble, reason = failure
        if trouble is Trouble.MAIL_NEVER:
            with self._transaction() as connection:
                if outbox.split(connection, due.mail_id, recipient, domain=self._domain, now_ns=now_ns):
                    return
        tries = self._n_failures if trouble in _OF_SERVER else attempt
        old = now_ns - due.created_ns > GIVE_UP_NS and tries >= GIVE_UP_TRIES
        doubt = trouble in (Trouble.GARBAGE, Trouble.AMBIGUOUS)
        hopeless = doubt and due.doubts + 1 >= DOUBTS_MAX
        if trouble in (Trouble.MAIL_NEVER, Trouble.RECIPIENT_NEVER) or old or hopeless:
            self._give_up(due, recipient, reason, now_ns)
            return
        pause_s = pause_before(attempt + 1, f"{due.message_id} {recipient}")
        if trouble is Trouble.RECIPIENT_LATER:
            pause_s = max(pause_s, GREYLIST_S)
        with self._transaction() as connection:
            outbox.retry(
                connection,
                due.mail_id,
                recipient,
                due_ns=now_ns + round(pause_s * 1e9),
                error=reason,
                doubt=doubt,
                repeat=trouble is Trouble.AMBIGUOUS,
            )

    def _give_up(self, due: Due, recipient: str, reason: str, now_ns: int) -> None:
        """Move a delivery to the dead letters, loudly."""
        text = f"mail {due.message_id} to {recipient} is given up: {reason}"
        with self._transaction() as connection:
            outbox.give_up(connection, due.mail_id, recipient, now_ns=now_ns, error=reason)
            if outbox.rules_of(connection, due.mail_id) != {"delivery"}:  # Else each would breed the next
                day = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date().isoformat()
                self._alert(connection, f"{recipient} {day}", text, now_ns)
        self._tell("critical", text)

    def _bury(self, row: int, problem: str) -> None:
        now_ns = self._clock.now_ns()
        with self._transaction() as connection:
            key = outbox.bury(connection, row)
            self._alert(connection, key, f"alert {key} could not be told: {problem}", now_ns)
        self._tell("critical", f"alert {key} could not be told: {problem}")

    def _alert(self, connection: sqlite3.Connection, subject: str, detail: str, now_ns: int) -> None:
        """Add an alert about a mail; about each subject once."""
        rule = RULES["delivery"]
        notice = Transition(
            portfolio=self._portfolio,
            rule="delivery",
            version=rule.version,
            subject=subject,
            episode=0,
            key=alert_key(self._portfolio, "delivery", rule.version, subject, 0),
            label="noticed",
            severity="critical",
            mail=True,
            value=1.0,
            threshold=1.0,
            clear_level=1.0,
            value_fired=1.0,
            unit=rule.unit,
            detail=detail,
            session="",
            ts_ns=now_ns,
            detected_ns=now_ns,
            since_ns=now_ns,
            since_session="",
        )
        outbox.enqueue(connection, [notice], now_ns)

    def _server_fails(self, failure: Failure) -> None:
        self._n_failures += 1
        pause_s = pause_before(self._n_failures + 1, f"server {self._n_failures}")
        self._server_due_s = self._clock.monotonic_s() + pause_s
        before = self._status
        since_ns = self._clock.now_ns() if before.failing_since_ns is None else before.failing_since_ns
        self._status = before._replace(failing_since_ns=since_ns, reason=failure.reason)
        if before.failing_since_ns is None or before.reason != failure.reason:
            remedy = "; check the e-mail settings" if failure.trouble is Trouble.SETTINGS else ""
            self._tell("critical", f"no mail can be sent: {self._server}: {failure.reason}{remedy}")

    def _server_works(self) -> None:
        self._n_failures, self._server_due_s = 0, 0.0
        if self._status.failing_since_ns is not None:
            self._status = self._status._replace(failing_since_ns=None, reason="")
            self._tell("info", f"mail can be sent again: {self._server}")

    def _compose_daily(self, connection: sqlite3.Connection, now_ns: int) -> None:
        if self._daily is None or self.email.daily_at is None:
            return
        now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).astimezone(_NEW_YORK)
        if f"{now:%H:%M}" < self.email.daily_at:
            return
        name = f"daily {self._portfolio} {now:%Y-%m-%d}"
        if not outbox.has_notice(connection, name, domain=self._domain):
            daily = self._daily()
            outbox.add_notice(
                connection, self.email.recipients, name=name, subject=daily.subject, body=daily.body,
                domain=self._domain, now_ns=now_ns,
            )  # fmt: skip

    def _note_taken(self, recipient: str, at_s: float) -> None:
        self._taken.setdefault(recipient, deque(maxlen=MAILS_PER_MINUTE)).append(at_s)

    def _free_in(self, recipient: str, now_s: float) -> float:
        """Return the seconds until a recipient may get another mail."""
        taken = self._taken.get(recipient, deque())
        return taken[0] + 60.0 - now_s if len(taken) == MAILS_PER_MINUTE else 0.0

    def _seconds_to_rest(self) -> float:
        now_s, now_ns = self._clock.monotonic_s(), self._clock.now_ns()
        if now_s < self._server_due_s:
            return max(min(self._server_due_s - now_s, REST_S_MAX), REST_S_MIN)
        with self._transaction() as connection:
            due_ns = outbox.next_due_ns(connection)
        moments = [self._free_in(one, now_s) for one in self._taken]
        if self._waiting_s is not None:
            moments.append(self._waiting_s + self._group_s - now_s)
        if due_ns is not None:
            moments.append((due_ns - now_ns) / 1e9)
        return max(min([one for one in moments if one > 0.0] + [REST_S_MAX]), REST_S_MIN)

    async def _rest(self, seconds: float) -> None:
        """Return after some time, or when there is something new."""
        async with asyncio.TaskGroup() as group:
            woken = group.create_task(self._wake.wait())
            slept = group.create_task(self._clock.sleep(seconds))
            await asyncio.wait((woken, slept), return_when=asyncio.FIRST_COMPLETED)
            woken.cancel()
            slept.cancel()

    @property
    def _domain(self) -> str:
        return (self.email.sender or "@localhost").rpartition("@")[2]

    @property
    def _server(self) -> str:
        return f"{self.email.smtp_server}:{self.email.smtp_port}"


def pause_before(attempt: int, name: str) -> float:
    """Return the seconds before an attempt (2: the first repetition), up to a tenth more by its name."""
    pause_s = PAUSES_S[min(attempt - 2, len(PAUSES_S) - 1)]
    drawn = int.from_bytes(hashlib.sha256(f"{name} {attempt}".encode()).digest()[:4], "big") / 2**32
    return pause_s * (1.0 + JITTER * drawn)


def _readable(payload: bytes) -> tuple[Transition | None, str]:
    """Return a transition that can be put into words, or why it cannot."""
    if len(payload) > PAYLOAD_MAX:
        return None, f"{len(payload):,} bytes, at most {PAYLOAD_MAX:,}"
    try:
        transition = msgpack.decode(payload, type=Transition)
        item = Item((transition,))
        headline(transition), facts(item)
    except (MsgspecError, ValueError, LookupError, RecursionError) as error:
        return None, clean(f"{type(error).__name__}: {error}")
    return transition, ""
