"""What the outbox keeps, and how damage to it is noticed.

    outbox     one row per transition of an alert, mailed or not (`notif_key` is unique: said once)
    mail       a message with its Message-ID: several transitions, or a body of its own
    delivery   one row per mail and recipient: pending -> sending -> sent | dead | split

Each transition carries the digest of what it was recorded with, each mail that of itself, its transitions
and its deliveries as they stand. What does not match is neither sent nor written over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from storage.journal import JournalDamaged
from storage.live import add_column
from storage.seal import seal

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE IF NOT EXISTS outbox (
        id INTEGER PRIMARY KEY,
        notif_key TEXT NOT NULL UNIQUE,
        alert_key TEXT NOT NULL,
        rule TEXT NOT NULL,
        subject TEXT NOT NULL,
        label TEXT NOT NULL,
        severity TEXT NOT NULL,
        detected_ns INTEGER NOT NULL,
        mail INTEGER NOT NULL,
        held_back TEXT NOT NULL,
        payload BLOB NOT NULL,
        journal_seq INTEGER NOT NULL DEFAULT 0, -- of the event that caused it; 0: the relay itself
        digest BLOB NOT NULL DEFAULT x''
    )""",
    "CREATE INDEX IF NOT EXISTS outbox_alert ON outbox (alert_key, id)",
    """CREATE TABLE IF NOT EXISTS mail (
        id INTEGER PRIMARY KEY,
        message_id TEXT NOT NULL UNIQUE,
        created_ns INTEGER NOT NULL,
        subject TEXT,
        body TEXT,
        digest BLOB NOT NULL DEFAULT x''
    )""",
    """CREATE TABLE IF NOT EXISTS mail_row (
        mail_id INTEGER NOT NULL REFERENCES mail (id),
        outbox_id INTEGER NOT NULL REFERENCES outbox (id),
        PRIMARY KEY (mail_id, outbox_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS mail_row_outbox ON mail_row (outbox_id)",
    """CREATE TABLE IF NOT EXISTS delivery (
        mail_id INTEGER NOT NULL REFERENCES mail (id),
        recipient TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'dead', 'split')),
        attempts INTEGER NOT NULL DEFAULT 0,
        doubts INTEGER NOT NULL DEFAULT 0,
        repeat INTEGER NOT NULL DEFAULT 0,
        due_ns INTEGER NOT NULL,
        settled_ns INTEGER,
        error TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (mail_id, recipient)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS delivery_open ON delivery (due_ns) WHERE state IN ('pending', 'sending')",
    "CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE mail = 1",
)

TABLES = ("outbox", "mail", "mail_row", "delivery")
RECORDED = (
    "notif_key, alert_key, rule, subject, label, severity, detected_ns, payload, journal_seq, mail, held_back"
)
DETECTED_NS, PAYLOAD = 6, 7
# Why a transition that was to be mailed never will be
MAIL_IS_OFF, DEAD_LETTER = "e-mail is off", "dead letter"


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of version 1 to this one."""
    add_column(connection, "outbox", "journal_seq", "INTEGER NOT NULL DEFAULT 0")
    for table in ("outbox", "mail"):
        add_column(connection, table, "digest", "BLOB NOT NULL DEFAULT x''")
    for (outbox_id,) in connection.execute("SELECT id FROM outbox").fetchall():
        values = connection.execute(f"SELECT {RECORDED} FROM outbox WHERE id = ?", (outbox_id,)).fetchone()
        connection.execute("UPDATE outbox SET digest = ? WHERE id = ?", (seal(*values), outbox_id))
    for (mail_id,) in connection.execute("SELECT id FROM mail").fetchall():
        seal_mail(connection, mail_id)


def check_mail(connection: sqlite3.Connection, mail_id: int) -> None:
    """Raise JournalDamaged unless a mail, its transitions and its deliveries are as they were left."""
    row = connection.execute("SELECT digest FROM mail WHERE id = ?", (mail_id,)).fetchone()
    if row is None or row[0] != _digest(connection, mail_id):
        raise JournalDamaged(f"outbox: mail {mail_id} does not match its digest; it was changed or damaged")


def check(connection: sqlite3.Connection) -> dict[int, list[bytes]]:
    """Check all that is kept; return the digests of the transitions of each journal row, oldest first.

    Raises JournalDamaged.
    """
    for table in TABLES:  # Rows that are out of reach, and indexes that do not lead to them
        found = connection.execute(f"PRAGMA integrity_check({table})").fetchone()[0]
        if found != "ok":
            raise JournalDamaged(f"outbox: {found}")
    for table in ("delivery", "mail_row"):
        if connection.execute(f"PRAGMA foreign_key_check({table})").fetchone() is not None:
            raise JournalDamaged(f"outbox: a row of {table} has lost what it belongs to")
    for (mail_id,) in connection.execute("SELECT id FROM mail"):
        check_mail(connection, mail_id)
    told: dict[int, list[bytes]] = {}
    for row in connection.execute(f"SELECT {RECORDED}, digest FROM outbox ORDER BY id"):
        *_, journal_seq, _, _, digest = whole(row)
        told.setdefault(journal_seq, []).append(digest)
    return told


def whole(row: Sequence[Any]) -> Sequence[Any]:
    """Return a row of `RECORDED` and its digest, which must match it as it was recorded."""
    *recorded, mail, held_back, digest = row
    matches = seal(*recorded, mail, held_back) == digest
    if not matches and mail == 0 and held_back in (MAIL_IS_OFF, DEAD_LETTER):
        matches = seal(*recorded, 1, "") == digest
    if not matches:
        raise JournalDamaged(f"outbox: alert {row[0]} does not match its digest; it was changed or damaged")
    return row


@contextmanager
def changing(connection: sqlite3.Connection, mail_id: int) -> Iterator[None]:
    """Within, a mail may be changed that is as it was left."""
    check_mail(connection, mail_id)
    yield
    seal_mail(connection, mail_id)


def seal_mail(connection: sqlite3.Connection, mail_id: int) -> None:
    connection.execute("UPDATE mail SET digest = ? WHERE id = ?", (_digest(connection, mail_id), mail_id))


def _digest(connection: sqlite3.Connection, mail_id: int) -> bytes:
    """Return the digest of a mail, its transitions and its deliveries."""
    parts = (
        "SELECT id, message_id, created_ns, subject, body FROM mail WHERE id = ?",
        "SELECT o.id, o.digest FROM mail_row r JOIN outbox o ON o.id = r.outbox_id"
        " WHERE r.mail_id = ? ORDER BY o.id",
        "SELECT recipient, state, attempts, doubts, repeat, due_ns, settled_ns, error FROM delivery"
        " WHERE mail_id = ? ORDER BY recipient",
    )
    columns: list[Any] = []
    for part in parts:
        rows = connection.execute(part, (mail_id,)).fetchall()
        columns += (len(rows), *(column for row in rows for column in row))
    return seal(*columns)
