"""The journal: every input of the live monitor in the order in which it was taken, chained by hashes.

1. Rows are appended only, numbered 1, 2, 3, ... without a gap.
2. `hash` of a row is the sha256 of the hash before it and of everything in the row, so that a row that was
   changed, lost, inserted or moved breaks the chain at that place.
3. `outcome` is the digest of everything the input caused: a replay of the inputs must reproduce it.
4. `said` names what other tables of the store hold because of the input (`monitors.said`); rows from before
   there was such a column have none.

The functions work on an open connection and belong into the transaction of the caller.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterator
from typing import NamedTuple

from engine.errors import DataError

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS journal (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        ts_ns INTEGER NOT NULL,
        payload BLOB NOT NULL,
        outcome BLOB NOT NULL,
        hash BLOB NOT NULL,
        said BLOB NOT NULL DEFAULT x''
    )
    """,
    # The row before the oldest that is kept. The chain protects it: the oldest kept row was hashed with it
    """
    CREATE TABLE IF NOT EXISTS journal_base (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL
    )
    """,
)
_ROW = struct.Struct("<qqII")
_SAID = struct.Struct("<I")
_SELECT = "SELECT * FROM journal"  # Of version 1 too, which had no `said`


# A column can lose its type as well as its value
_UNREADABLE = (sqlite3.DatabaseError, OverflowError, TypeError, AttributeError, struct.error)


class JournalDamaged(DataError):
    """The journal is not what was written: it must not be gone on from."""


class Head(NamedTuple):
    """The newest row: its number and its hash. An empty journal has number 0."""

    seq: int
    hash: bytes


class Entry(NamedTuple):
    """One row. `ts_ns`: the wall clock when the input was taken, UTC."""

    seq: int
    kind: str
    ts_ns: int
    payload: bytes
    outcome: bytes
    hash: bytes
    said: bytes = b""


EMPTY = Head(0, hashlib.sha256(b"smallcap journal 1").digest())


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the table of version 1 to this one."""
    connection.execute("ALTER TABLE journal ADD COLUMN said BLOB NOT NULL DEFAULT x''")


def append(
    connection: sqlite3.Connection,
    head: Head,
    kind: str,
    ts_ns: int,
    payload: bytes,
    outcome: bytes,
    said: bytes = b"",
) -> Head:
    """Write the row after `head`; return the new head."""
    seq = head.seq + 1
    digest = _chained(head.hash, seq, kind, ts_ns, payload, outcome, said)
    connection.execute(
        "INSERT INTO journal (seq, kind, ts_ns, payload, outcome, hash, said) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (seq, kind, ts_ns, payload, outcome, digest, said),
    )
    return Head(seq, digest)


def base(connection: sqlite3.Connection) -> Head:
    """Return the head as it was before the oldest row that is kept."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_base'").fetchone() is None:
        return EMPTY  # A store of version 1
    row = connection.execute("SELECT seq, hash FROM journal_base").fetchone()
    return EMPTY if row is None else Head(*row)


def prune(connection: sqlite3.Connection, last_seq: int, rows_max: int) -> int:
    """Delete the oldest rows up to `last_seq`, at most `rows_max`; return the newest number deleted so far.

    The chain goes on from that row. A row must be left.
    """
    begin = base(connection).seq
    end = min(last_seq, begin + rows_max)
    if end <= begin:
        return begin
    connection.execute(
        "INSERT OR REPLACE INTO journal_base SELECT 1, seq, hash FROM journal WHERE seq = ?", (end,)
    )
    connection.execute("DELETE FROM journal WHERE seq <= ?", (end,))
    return end


def read(
    connection: sqlite3.Connection, after: Head | None = None, last_seq: int | None = None
) -> Iterator[Entry]:
    """Yield the rows after `after`, each checked against the chain. Raises JournalDamaged at a bad one.

    after: None for the oldest row that is kept. last_seq: the row to end with; None for the newest.
    """
    seq, previous = base(connection) if after is None else after
    rows = connection.execute(
        f"{_SELECT} WHERE seq > ? AND seq <= ? ORDER BY seq",
        (seq, 2**62 if last_seq is None else last_seq),
    )
    try:
        for row in rows:
            entry = Entry(*row)
            seq += 1
            if entry.seq != seq:
                raise JournalDamaged(f"journal: row {seq} is missing, the next is {entry.seq}")
            _check(previous, entry)
            previous = entry.hash
            yield entry
    except _UNREADABLE as error:
        raise JournalDamaged(f"journal: row {seq + 1} cannot be read: {error}") from None


def head_at(connection: sqlite3.Connection, seq: int) -> Head | None:
    """Return the head as it was when row `seq` was the newest; None when that is not kept."""
    row = connection.execute("SELECT hash FROM journal WHERE seq = ?", (seq,)).fetchone()
    if row is not None:
        return Head(seq, row[0])
    before = base(connection)
    return before if before.seq == seq else None


def entry_at(connection: sqlite3.Connection, seq: int) -> Entry | None:
    """Return a row, None when it is not kept. Raises JournalDamaged when it is not what was written."""
    try:
        row = connection.execute(
            "SELECT (SELECT hash FROM journal WHERE seq = ?), (SELECT hash FROM journal_base WHERE seq = ?),"
            " journal.* FROM journal WHERE seq = ?",
            (seq - 1, seq - 1, seq),
        ).fetchone()
        if row is None:
            return None
        entry = Entry(*row[2:])
        _check(row[0] or row[1] or EMPTY.hash, entry)
    except _UNREADABLE as error:
        raise JournalDamaged(f"journal: row {seq} cannot be read: {error}") from None
    return entry


def newest_seq(connection: sqlite3.Connection) -> int:
    """Return the number of the newest row, 0 when there is none."""
    seq: int = connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0]
    return seq


def verify(connection: sqlite3.Connection, after: Head | None = None, last_seq: int | None = None) -> Head:
    """Read all rows after `after` (None: all that are kept); return the last one's head.

    Raises JournalDamaged.
    """
    head = base(connection) if after is None else after
    for entry in read(connection, after, last_seq):
        head = Head(entry.seq, entry.hash)
    if last_seq is not None and head.seq != last_seq:
        raise JournalDamaged(f"journal: ends at row {head.seq}, should reach {last_seq}")
    return head


def _check(previous: bytes, entry: Entry) -> None:
    if entry.hash != _chained(previous, *entry[:5], entry.said):
        raise JournalDamaged(f"journal: row {entry.seq} does not match its hash; it was changed or damaged")


def _chained(
    previous: bytes, seq: int, kind: str, ts_ns: int, payload: bytes, outcome: bytes, said: bytes
) -> bytes:
    name = kind.encode()
    digest = hashlib.sha256(previous)
    digest.update(_ROW.pack(seq, ts_ns, len(name), len(payload)))
    digest.update(name)
    digest.update(payload)
    digest.update(outcome)
    if said:  # Rows of version 1 keep their hashes
        digest.update(_SAID.pack(len(said)))
        digest.update(said)
    return digest.digest()
