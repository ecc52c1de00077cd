"""The outbox as a queue: what is to be told, written with the event that caused it, and what became of it.

1. A delivery is `sending` from before the first byte goes out until the outcome is known and committed.
   One still `sending` when the process starts may have arrived: it goes out again, under the same
   Message-ID, marked as a possible repeat.
2. A pending delivery has never been taken by the server, unless `repeat` says that it may have been.
3. Transitions that wait for a mail belong to none (`mail = 1`, no row in `mail_row`).

All functions run within the caller's transaction on a connection with isolation_level=None. The tables are in
`monitors.outbox_tables`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import msgpack

from monitors.alerts import Transition
from monitors.outbox_tables import (
    DEAD_LETTER,
    DETECTED_NS,
    MAIL_IS_OFF,
    PAYLOAD,
    RECORDED,
    changing,
    check_mail,
    seal_mail,
    whole,
)
from storage.seal import seal

# No pause is longer: a delivery due later than that was dated before the clock was set back
PAUSE_NS_MAX = 3_600_000_000_000


class Due(NamedTuple):
    """A mail that should go out now, to recipients that stand alike."""

    mail_id: int
    message_id: str
    recipients: tuple[str, ...]
    attempts: int  # made before, the most of any recipient
    doubts: int  # of them without a reply that says anything
    repeat: bool  # an earlier attempt may have arrived
    created_ns: int


class Stats(NamedTuple):
    """How the outbox stands."""

    waiting: int  # transitions in no mail yet
    open: int  # deliveries pending or sending
    dead: int  # deliveries given up
    oldest_ns: int | None  # when the oldest of what is waiting or open was detected


def enqueue(
    connection: sqlite3.Connection, transitions: Sequence[Transition], ts_ns: int, journal_seq: int = 0
) -> list[bytes]:
    """Record transitions; those with `mail` wait for one. Returns the digest of each that is new.

    ts_ns: when they were detected, by the machine's clock. journal_seq: of the event that caused them, 0 for
    the relay itself. One that is recorded already (the event is replayed) changes nothing.
    """
    digests = []
    for one in transitions:
        values = (
            one.notif_key, one.key, one.rule, one.subject, one.label, one.severity, ts_ns,
            msgpack.encode(one), journal_seq, int(one.mail), one.held_back,
        )  # fmt: skip
        digest = seal(*values)
        if connection.execute(
            f"INSERT INTO outbox ({RECORDED}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (notif_key) DO NOTHING",
            (*values, digest),
        ).rowcount:
            digests.append(digest)
    return digests


def recover(connection: sqlite3.Connection) -> int:
    """Return how many deliveries were under way when the process ended; they go out again, as repeats."""
    rows = connection.execute("SELECT DISTINCT mail_id FROM delivery WHERE state = 'sending'").fetchall()
    n_recovered = 0
    for (mail_id,) in rows:
        with changing(connection, mail_id):
            n_recovered += connection.execute(
                "UPDATE delivery SET state = 'pending', repeat = 1, due_ns = 0"
                " WHERE state = 'sending' AND mail_id = ?",
                (mail_id,),
            ).rowcount
    return n_recovered


def compose(
    connection: sqlite3.Connection,
    recipients: Sequence[str],
    *,
    domain: str,
    now_ns: int,
    rows_max: int,
) -> int | None:
    """Put waiting transitions, oldest first, into one mail; return its id."""
    rows = connection.execute(
        "SELECT id, notif_key FROM outbox o WHERE mail = 1"
        " AND NOT EXISTS (SELECT 1 FROM mail_row r WHERE r.outbox_id = o.id) ORDER BY id LIMIT ?",
        (rows_max,),
    ).fetchall()
    if not rows:
        return None
    return _add_mail(connection, rows, recipients, domain=domain, now_ns=now_ns)


def add_notice(
    connection: sqlite3.Connection,
    recipients: Sequence[str],
    *,
    name: str,
    subject: str,
    body: str,
    domain: str,
    now_ns: int,
) -> None:
    """Add a mail with a body of its own. `name` makes its Message-ID: the same name is sent once."""
    cursor = connection.execute(
        "INSERT INTO mail (message_id, created_ns, subject, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (message_id) DO NOTHING",
        (_message_id(name, domain), now_ns, subject, body),
    )
    if cursor.rowcount:
        mail_id = int(cursor.lastrowid or 0)
        _address(connection, mail_id, recipients, now_ns)
        seal_mail(connection, mail_id)


def has_notice(connection: sqlite3.Connection, name: str, *, domain: str) -> bool:
    """Return whether a mail of that name was added."""
    found = connection.execute("SELECT 1 FROM mail WHERE message_id = ?", (_message_id(name, domain),))
    return found.fetchone() is not None


def due(connection: sqlite3.Connection, now_ns: int, *, blocked: Sequence[str] = ()) -> Due | None:
    """Return the mail to send now, without recipients that must wait: the least tried, then the oldest.

    So a message that a server chokes on does not stand in the way of the others.
    """
    rows = connection.execute(
        "SELECT d.mail_id, d.recipient, d.attempts, d.repeat, m.message_id, m.created_ns, d.doubts"
        " FROM delivery d JOIN mail m ON m.id = d.mail_id"
        " WHERE d.state = 'pending' AND (d.due_ns <= ? OR d.due_ns > ?)"
        " ORDER BY d.attempts, d.mail_id, d.repeat, d.recipient",
        (now_ns, now_ns + PAUSE_NS_MAX),
    ).fetchall()
    free = [row for row in rows if row[1] not in blocked]
    if not free:
        return None
    mail_id, _, _, repeat, message_id, created_ns, _ = free[0]
    alike = [row for row in free if row[0] == mail_id and row[3] == repeat]
    return Due(
        mail_id,
        message_id,
        tuple(row[1] for row in alike),
        attempts=max(row[2] for row in alike),
        doubts=max(row[6] for row in alike),
        repeat=bool(repeat),
        created_ns=created_ns,
    )


def sent_since(connection: sqlite3.Connection, ts_ns: int) -> list[tuple[str, int]]:
    """Return (recipient, time) of what servers took since a moment, oldest first."""
    return connection.execute(
        "SELECT recipient, settled_ns FROM delivery WHERE state = 'sent' AND settled_ns > ?"
        " ORDER BY settled_ns",
        (ts_ns,),
    ).fetchall()


def next_due_ns(connection: sqlite3.Connection) -> int | None:
    """Return when the next pending delivery is due."""
    (first,) = connection.execute("SELECT min(due_ns) FROM delivery WHERE state = 'pending'").fetchone()
    return None if first is None else int(first)


def transitions_of(connection: sqlite3.Connection, mail_id: int) -> list[tuple[int, int, bytes]]:
    """Return (outbox id, when it was recorded, payload) of a mail's transitions, oldest first.

    Raises JournalDamaged.
    """
    check_mail(connection, mail_id)
    rows = connection.execute(
        f"SELECT o.id, {RECORDED}, digest FROM mail_row r JOIN outbox o ON o.id = r.outbox_id"
        " WHERE r.mail_id = ? ORDER BY o.id",
        (mail_id,),
    ).fetchall()
    checked = [(outbox_id, whole(row)) for outbox_id, *row in rows]
    return [(outbox_id, row[DETECTED_NS], row[PAYLOAD]) for outbox_id, row in checked]


def rules_of(connection: sqlite3.Connection, mail_id: int) -> set[str]:
    """Return the rules that a mail tells about."""
    rows = connection.execute(
        "SELECT DISTINCT o.rule FROM mail_row r JOIN outbox o ON o.id = r.outbox_id WHERE r.mail_id = ?",
        (mail_id,),
    )
    return {row[0] for row in rows}


def notice_of(connection: sqlite3.Connection, mail_id: int) -> tuple[str, str] | None:
    """Return (subject, body) of a mail that has a body of its own. Raises JournalDamaged."""
    check_mail(connection, mail_id)
    row = connection.execute("SELECT subject, body FROM mail WHERE id = ?", (mail_id,)).fetchone()
    return None if row is None or row[1] is None else (row[0], row[1])


def start(connection: sqlite3.Connection, mail_id: int, recipients: Sequence[str]) -> None:
    """Note that the mail is about to be sent. Commit before the first byte."""
    with changing(connection, mail_id):
        connection.executemany(
            "UPDATE delivery SET state = 'sending', attempts = attempts + 1"
            " WHERE mail_id = ? AND recipient = ?",
            [(mail_id, recipient) for recipient in recipients],
        )


def sent(connection: sqlite3.Connection, mail_id: int, recipient: str, now_ns: int) -> None:
    """Note that the server took the mail for a recipient."""
    with changing(connection, mail_id):
        connection.execute(
            "UPDATE delivery SET state = 'sent', settled_ns = ?, error = ''"
            " WHERE mail_id = ? AND recipient = ?",
            (now_ns, mail_id, recipient),
        )


def retry(
    connection: sqlite3.Connection,
    mail_id: int,
    recipient: str,
    *,
    due_ns: int,
    error: str,
    doubt: bool,
    repeat: bool,
) -> None:
    """Note that it has to be sent again. doubt: no reply said why; repeat: it may have arrived."""
    with changing(connection, mail_id):
        connection.execute(
            "UPDATE delivery SET state = 'pending', due_ns = ?, error = ?, doubts = doubts + ?,"
            " repeat = max(repeat, ?) WHERE mail_id = ? AND recipient = ?",
            (due_ns, error, int(doubt), int(repeat), mail_id, recipient),
        )


def give_up(connection: sqlite3.Connection, mail_id: int, recipient: str, *, now_ns: int, error: str) -> None:
    """Move a delivery to the dead letters."""
    with changing(connection, mail_id):
        connection.execute(
            "UPDATE delivery SET state = 'dead', settled_ns = ?, error = ?"
            " WHERE mail_id = ? AND recipient = ?",
            (now_ns, error, mail_id, recipient),
        )


def split(connection: sqlite3.Connection, mail_id: int, recipient: str, *, domain: str, now_ns: int) -> bool:
    """Replace a mail that the server will not take by two halves; return False if it cannot be halved."""
    rows = connection.execute(
        "SELECT o.id, o.notif_key FROM mail_row r JOIN outbox o ON o.id = r.outbox_id"
        " WHERE r.mail_id = ? ORDER BY o.id",
        (mail_id,),
    ).fetchall()
    if len(rows) < 2:
        return False
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        _add_mail(connection, half, (recipient,), domain=domain, now_ns=now_ns)
    with changing(connection, mail_id):
        connection.execute(
            "UPDATE delivery SET state = 'split', settled_ns = ? WHERE mail_id = ? AND recipient = ?",
            (now_ns, mail_id, recipient),
        )
    return True


def recipients_of(connection: sqlite3.Connection, mail_id: int) -> tuple[str, ...]:
    """Return everyone that a mail is for."""
    rows = connection.execute(
        "SELECT recipient FROM delivery WHERE mail_id = ? ORDER BY recipient", (mail_id,)
    ).fetchall()
    return tuple(row[0] for row in rows)


def bury(connection: sqlite3.Connection, outbox_id: int) -> str:
    """Take a transition that cannot be put into words out of its mail; return its key."""
    mails = connection.execute("SELECT mail_id FROM mail_row WHERE outbox_id = ?", (outbox_id,)).fetchall()
    for (mail_id,) in mails:
        with changing(connection, mail_id):
            connection.execute(
                "DELETE FROM mail_row WHERE mail_id = ? AND outbox_id = ?", (mail_id, outbox_id)
            )
    connection.execute("UPDATE outbox SET mail = 0, held_back = ? WHERE id = ?", (DEAD_LETTER, outbox_id))
    row = connection.execute("SELECT notif_key FROM outbox WHERE id = ?", (outbox_id,)).fetchone()
    return str(row[0])


def hold(connection: sqlite3.Connection) -> None:
    """Keep everything that waits for a mail from ever being mailed: e-mail is off."""
    connection.execute(
        "UPDATE outbox SET mail = 0, held_back = ? WHERE mail = 1"
        " AND NOT EXISTS (SELECT 1 FROM mail_row r WHERE r.outbox_id = outbox.id)",
        (MAIL_IS_OFF,),
    )


def stats(connection: sqlite3.Connection) -> Stats:
    """Return how the outbox stands."""
    waiting, first_waiting = connection.execute(
        "SELECT count(*), min(detected_ns) FROM outbox o WHERE mail = 1"
        " AND NOT EXISTS (SELECT 1 FROM mail_row r WHERE r.outbox_id = o.id)"
    ).fetchone()
    under_way, first_open = connection.execute(
        "SELECT count(*), min(m.created_ns) FROM delivery d JOIN mail m ON m.id = d.mail_id"
        " WHERE d.state IN ('pending', 'sending')"
    ).fetchone()
    (dead,) = connection.execute("SELECT count(*) FROM delivery WHERE state = 'dead'").fetchone()
    known = [at for at in (first_waiting, first_open) if at is not None]
    return Stats(waiting, under_way, dead, min(known, default=None))


def _add_mail(
    connection: sqlite3.Connection,
    rows: Sequence[tuple[int, str]],
    recipients: Sequence[str],
    *,
    domain: str,
    now_ns: int,
) -> int:
    # Named by what is in it and whom it is for: composing the same again gives the same name
    told = "\n".join([*(key for _, key in rows), "", *recipients])
    mail_id = connection.execute(
        "INSERT INTO mail (message_id, created_ns) VALUES (?, ?)", (_message_id(told, domain), now_ns)
    ).lastrowid
    assert mail_id is not None
    connection.executemany(
        "INSERT INTO mail_row (mail_id, outbox_id) VALUES (?, ?)", [(mail_id, row[0]) for row in rows]
    )
    _address(connection, mail_id, recipients, now_ns)
    seal_mail(connection, mail_id)
    return mail_id


def _address(connection: sqlite3.Connection, mail_id: int, recipients: Sequence[str], now_ns: int) -> None:
    connection.executemany(
        "INSERT INTO delivery (mail_id, recipient, state, due_ns) VALUES (?, ?, 'pending', ?)",
        [(mail_id, recipient, now_ns) for recipient in dict.fromkeys(recipients)],
    )


def _message_id(name: str, domain: str) -> str:
    return f"<{hashlib.sha256(name.encode()).hexdigest()[:32]}@{domain}>"
