"""The journal: every input of the live monitor in the order in which it was taken, chained by hashes.

1. Rows are appended only, numbered 1, 2, 3, ... without a gap.
2. `hash` of a row is the sha256 of the hash before it and of everything in the row, so that a row that was
   changed, lost, inserted or moved breaks the chain at that place.
3. `outcome` is the digest of everything the input caused: a replay of the inputs must reproduce it.

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
        hash BLOB NOT NULL
    )
    """,
)
_ROW = struct.Struct("<qqII")


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


EMPTY = Head(0, hashlib.sha256(b"smallcap journal 1").digest())


def append(
    connection: sqlite3.Connection, head: Head, kind: str, ts_ns: int, payload: bytes, outcome: bytes
) -> Head:
    """Write the row after `head`; return the new head."""
    seq = head.seq + 1
    digest = _chained(head.hash, seq, kind, ts_ns, payload, outcome)
    connection.execute(
        "INSERT INTO journal (seq, kind, ts_ns, payload, outcome, hash) VALUES (?, ?, ?, ?, ?, ?)",
        (seq, kind, ts_ns, payload, outcome, digest),
    )
    return Head(seq, digest)


def read(connection: sqlite3.Connection, after: Head = EMPTY, last_seq: int | None = None) -> Iterator[Entry]:
    """Yield the rows after `after`, each checked against the chain. Raises JournalDamaged at a bad one.

    last_seq: the row to end with; None for the newest.
    """
    seq, previous = after
    rows = connection.execute(
        "SELECT seq, kind, ts_ns, payload, outcome, hash FROM journal"
        " WHERE seq > ? AND seq <= ? ORDER BY seq",
        (after.seq, 2**62 if last_seq is None else last_seq),
    )
    try:
        for row in rows:
            entry = Entry(*row)
            seq += 1
            if entry.seq != seq:
                raise JournalDamaged(f"journal: row {seq} is missing, the next is {entry.seq}")
            if entry.hash != _chained(previous, *entry[:5]):
                raise JournalDamaged(f"journal: row {seq} does not match its hash; it was changed or damaged")
            previous = entry.hash
            yield entry
    except (sqlite3.Error, OverflowError, TypeError, AttributeError, struct.error) as error:
        # A column can lose its type as well as its value
        raise JournalDamaged(f"journal: row {seq + 1} cannot be read: {error}") from None


def head_at(connection: sqlite3.Connection, seq: int) -> Head | None:
    """Return the head as it was when row `seq` was the newest; None without that row."""
    if seq == 0:
        return EMPTY
    row = connection.execute("SELECT hash FROM journal WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else Head(seq, row[0])


def entry_at(connection: sqlite3.Connection, seq: int) -> Entry | None:
    """Return a row, unchecked; None without it."""
    row = connection.execute(
        "SELECT seq, kind, ts_ns, payload, outcome, hash FROM journal WHERE seq = ?", (seq,)
    ).fetchone()
    return None if row is None else Entry(*row)


def newest_seq(connection: sqlite3.Connection) -> int:
    """Return the number of the newest row, 0 when there is none."""
    seq: int = connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0]
    return seq


def verify(connection: sqlite3.Connection, after: Head = EMPTY, last_seq: int | None = None) -> Head:
    """Read all rows after `after`; return the last one's head. Raises JournalDamaged."""
    head = after
    for entry in read(connection, after, last_seq):
        head = Head(entry.seq, entry.hash)
    if last_seq is not None and head.seq != last_seq:
        raise JournalDamaged(f"journal: ends at row {head.seq}, should reach {last_seq}")
    return head


def _chained(previous: bytes, seq: int, kind: str, ts_ns: int, payload: bytes, outcome: bytes) -> bytes:
    name = kind.encode()
    digest = hashlib.sha256(previous)
    digest.update(_ROW.pack(seq, ts_ns, len(name), len(payload)))
    digest.update(name)
    digest.update(payload)
    digest.update(outcome)
    return digest.digest()
