"""Forgetting what the outbox told long ago."""

from __future__ import annotations

import sqlite3

PRUNED_MAX = 500  # transitions at a time


def prune(connection: sqlite3.Connection, journal_seq: int, before_ns: int) -> int:
    """Forget what journal rows up to `journal_seq` caused; return how many transitions that were.

    Never what waits for a mail, nor a mail that somebody has not got, nor anything younger than `before_ns`.
    A mail goes with all its transitions, or not at all: without it they would wait for one again.
    """
    settled = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM mail m WHERE created_ns < ? AND NOT EXISTS"
            " (SELECT 1 FROM delivery WHERE mail_id = m.id AND state IN ('pending', 'sending', 'dead'))"
            " AND NOT EXISTS (SELECT 1 FROM mail_row r JOIN outbox o ON o.id = r.outbox_id WHERE"
            " r.mail_id = m.id AND (o.journal_seq > ? OR o.detected_ns >= ?)) ORDER BY id",
            (before_ns, journal_seq, before_ns),
        )
    }
    pruned: set[int] = set()
    for mail_id in sorted(settled):
        mails, rows = _related(connection, mail_id)
        if len(pruned) < PRUNED_MAX and mails <= settled:
            for table in ("mail_row", "delivery"):
                _delete(connection, table, "mail_id", mails)
            _delete(connection, "mail", "id", mails)
            pruned |= rows
            settled -= mails
    never_mailed = connection.execute(
        "SELECT id FROM outbox o WHERE mail = 0 AND journal_seq <= ? AND detected_ns < ?"
        " AND NOT EXISTS (SELECT 1 FROM mail_row r WHERE r.outbox_id = o.id) ORDER BY id LIMIT ?",
        (journal_seq, before_ns, PRUNED_MAX),
    ).fetchall()
    pruned |= {row[0] for row in never_mailed}
    _delete(connection, "outbox", "id", pruned)
    return len(pruned)


def _related(connection: sqlite3.Connection, mail_id: int) -> tuple[set[int], set[int]]:
    """Return a mail with those it was split from or into, and their transitions."""
    mails, rows, found = {mail_id}, set[int](), {mail_id}
    while found:
        one = found.pop()
        rows |= {
            row[0] for row in connection.execute("SELECT outbox_id FROM mail_row WHERE mail_id = ?", (one,))
        }
        others = {
            row[0]
            for outbox_id in rows
            for row in connection.execute("SELECT mail_id FROM mail_row WHERE outbox_id = ?", (outbox_id,))
        }
        found |= others - mails
        mails |= others
    return mails, rows


def _delete(connection: sqlite3.Connection, table: str, column: str, numbers: set[int]) -> None:
    connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(number,) for number in numbers])
