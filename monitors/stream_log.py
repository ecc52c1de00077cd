"""The stream log: what is published, kept in the transaction of the event that caused it.

1. A row is a batch: one family of one journalled event, or a part of it. Its messages are numbered without a
   gap, `seq` over the stream and `family_seq` over the family, and no number is used twice.
2. Messages are sent from committed rows only, first by the publisher, later to whoever missed them. A row
   always gives the same messages, but for the epoch of whoever sends them.
3. A row carries the digest of all its columns, which is checked whenever it is read to be sent.
4. Kept are the newest `KEPT` messages of each family, and always its newest row: numbering goes on from it.

Bars are not stored here a second time: the journal has them, and whoever sends a row of bars looks there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from engine.errors import DataError
from monitors.batches import Batch
from monitors.bodies import FAMILIES
from storage.journal import JournalDamaged
from storage.live import add_column
from storage.seal import seal

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS stream (
        seq INTEGER PRIMARY KEY,
        family TEXT NOT NULL,
        family_seq INTEGER NOT NULL,
        count INTEGER NOT NULL,
        ts_ns INTEGER NOT NULL,
        payload BLOB NOT NULL,
        journal_seq INTEGER NOT NULL,
        digest BLOB NOT NULL DEFAULT x''
    ) STRICT""",
    "CREATE UNIQUE INDEX IF NOT EXISTS stream_family ON stream (family, seq)",
    """CREATE TABLE IF NOT EXISTS stream_identity (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        stream TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        digest BLOB NOT NULL DEFAULT x''
    ) STRICT""",
    # The first message kept of a family that has forgotten some
    """CREATE TABLE IF NOT EXISTS stream_kept (
        family TEXT PRIMARY KEY,
        family_seq INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
)
# 5 million bars are 2,500 rows of 2,000 symbols: six sessions of minutes, or ten years of days
KEPT: Mapping[str, int] = {family: 1_000_000 for family in FAMILIES} | {"bar": 5_000_000}

_COLUMNS = "seq, family, family_seq, count, ts_ns, payload, journal_seq, digest"
_INSERT = f"INSERT INTO stream ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class StreamRow(NamedTuple):
    """A committed batch. Its messages are `seq` to `last_seq`, `family_seq` to `last_family_seq`."""

    seq: int
    family: str
    family_seq: int
    count: int  # type: ignore[assignment]  # nobody counts in this tuple
    ts_ns: int
    payload: bytes  # of bars b"": the journal has them at `journal_seq`
    journal_seq: int
    digest: bytes

    @property
    def last_seq(self) -> int:
        return self.seq + self.count - 1

    @property
    def last_family_seq(self) -> int:
        return self.family_seq + self.count - 1


class Identity(NamedTuple):
    stream: str
    epoch: int


class Position(NamedTuple):
    """How far a stream has come."""

    seq: int
    families: dict[str, int]
    journal_seq: int


def open_epoch(connection: sqlite3.Connection, new_stream: str) -> Identity:
    """Begin the next epoch of the stream, inside the caller's transaction.

    `new_stream` names the stream if the store has none yet; it must be unique in the world.
    """
    before = _identity(connection)
    now = Identity(new_stream, 1) if before is None else Identity(before.stream, before.epoch + 1)
    connection.execute("INSERT OR REPLACE INTO stream_identity VALUES (1, ?, ?, ?)", (*now, seal(*now)))
    return now


def append(
    connection: sqlite3.Connection,
    journal_seq: int,
    batches: Sequence[Batch],
    kept: Mapping[str, int] = KEPT,
    after: Mapping[str, int] | None = None,
) -> list[StreamRow]:
    """Store what one event says and forget what is beyond the bound, inside the caller's transaction.

    after: the number of each family's newest message; None: looked up. Publish the rows that are returned
    once they are committed.
    """
    newest_seq = dict(numbers(connection) if after is None else after)
    seq = sum(newest_seq.values()) + 1  # Each message has a number of its family too
    rows: list[StreamRow] = []
    for batch in batches:
        family_seq = newest_seq[batch.family] + 1
        newest_seq[batch.family] += batch.count
        values = (seq, batch.family, family_seq, batch.count, batch.ts_ns, batch.bodies, journal_seq)
        row = StreamRow(*values, seal(*values))
        rows.append(row)
        seq += batch.count
    connection.executemany(_INSERT, rows)
    for row in rows:
        if row.last_family_seq > kept[row.family]:
            _forget(connection, row, kept[row.family])
    return rows


def numbers(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of each family's newest message, 0 where there is none."""
    found = dict.fromkeys(FAMILIES, 0)
    for family in FAMILIES:
        row = connection.execute(
            "SELECT family_seq + count - 1 FROM stream WHERE family = ? ORDER BY seq DESC LIMIT 1", (family,)
        ).fetchone()
        found[family] = row[0] if row else 0
    return found


def _forget(connection: sqlite3.Connection, newest: StreamRow, n_kept: int) -> None:
    """Delete the oldest rows of a family that lie wholly beyond its bound, a few at a time."""
    for seq, last in connection.execute(
        "SELECT seq, family_seq + count - 1 FROM stream WHERE family = ? AND seq < ? ORDER BY seq LIMIT 8",
        (newest.family, newest.seq),
    ).fetchall():
        if last > newest.last_family_seq - n_kept:
            return
        _delete(connection, seq, newest.family, last)


def prune(connection: sqlite3.Connection, journal_seq: int, rows_max: int = 64) -> int:
    """Forget the oldest rows up to those of a journal row, but the newest of each family; return how many."""
    newest = {
        connection.execute("SELECT max(seq) FROM stream WHERE family = ?", (family,)).fetchone()[0]
        for family in FAMILIES
    }
    rows = connection.execute(
        "SELECT seq, family, family_seq + count - 1, journal_seq FROM stream ORDER BY seq LIMIT ?",
        (rows_max + len(FAMILIES),),
    ).fetchall()
    n_pruned = 0
    for seq, family, last, caused_by in rows:
        if caused_by <= journal_seq and seq not in newest:
            _delete(connection, seq, family, last)
            n_pruned += 1
    return n_pruned


def _delete(connection: sqlite3.Connection, seq: int, family: str, last_family_seq: int) -> None:
    """Delete the oldest row of a family."""
    connection.execute("DELETE FROM stream WHERE seq = ?", (seq,))
    connection.execute("INSERT OR REPLACE INTO stream_kept VALUES (?, ?)", (family, last_family_seq + 1))


def kept_from(connection: sqlite3.Connection) -> dict[str, int]:
    """Return the number of the first message kept of each family that has forgotten some."""
    return dict(connection.execute("SELECT family, family_seq FROM stream_kept"))


def newest(connection: sqlite3.Connection, family: str, through_seq: int | None = None) -> StreamRow | None:
    """Return the newest row of a family that begins at or before `through_seq`; None if there is none."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM stream WHERE family = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
        (family, (1 << 62) if through_seq is None else through_seq),
    ).fetchone()
    return _whole(row) if row else None


def newest_event(connection: sqlite3.Connection, family: str) -> list[StreamRow]:
    """Return the rows of a family that belong to its newest event, oldest first."""
    last = newest(connection, family)
    if last is None:
        return []
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM stream WHERE family = ? AND seq <= ? ORDER BY seq DESC",
        (family, last.seq),
    )
    event = takewhile(lambda row: row.journal_seq == last.journal_seq, map(_whole, rows))
    return list(event)[::-1]


def position(connection: sqlite3.Connection) -> Position:
    """Return the numbers of the newest messages; 0 where there are none."""
    rows = {family: newest(connection, family) for family in FAMILIES}
    return Position(
        max((row.last_seq for row in rows.values() if row), default=0),
        {family: row.last_family_seq if row else 0 for family, row in rows.items()},
        max((row.journal_seq for row in rows.values() if row), default=0),
    )


def family_position(connection: sqlite3.Connection, family: str, seq: int) -> tuple[int, bool]:
    """Return the number of a family's newest message at or before `seq`, and whether it is still known.

    If it is not, the number is that of the newest message that was forgotten.
    """
    row = newest(connection, family, seq)
    if row:
        return min(row.last_family_seq, row.family_seq + seq - row.seq), True
    oldest = connection.execute(
        "SELECT family_seq FROM stream WHERE family = ? ORDER BY seq LIMIT 1", (family,)
    ).fetchone()
    before = oldest[0] - 1 if oldest else 0
    return before, before == 0


def read(
    connection: sqlite3.Connection, families: Collection[str] | None, after_seq: int, limit: int
) -> list[StreamRow]:
    """Return up to `limit` rows that hold messages after `after_seq`, oldest first; None: of all families."""
    wanted = tuple(FAMILIES if families is None else families)
    if unknown := set(wanted) - set(FAMILIES):
        raise DataError(f"no family {min(unknown)!r}; there are {', '.join(FAMILIES)}")
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM stream"
        " WHERE seq >= (SELECT coalesce(max(seq), 0) FROM stream WHERE seq <= ?)"
        f" AND seq + count - 1 > ? AND family IN ({marks}) ORDER BY seq LIMIT ?",
        (after_seq + 1, after_seq, *wanted, limit),
    )
    return [_whole(row) for row in rows]


def between(connection: sqlite3.Connection, before: int, last: int) -> Iterator[StreamRow]:
    """Yield the rows whose first message is after `before` and at most `last`."""
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM stream WHERE seq > ? AND seq <= ? ORDER BY seq", (before, last)
    ):
        yield _whole(row)


def check(connection: sqlite3.Connection) -> Position:
    """Return how far the stream has come. Raises JournalDamaged where its numbers do not add up."""
    _identity(connection)
    kept = kept_from(connection)
    for family in FAMILIES:
        oldest = connection.execute(
            "SELECT family_seq FROM stream WHERE family = ? ORDER BY seq LIMIT 1", (family,)
        ).fetchone()
        if oldest is not None and oldest[0] != kept.get(family, 1):
            raise JournalDamaged(
                f"stream: {family} begins at message {oldest[0]}, should at {kept.get(family, 1)}"
            )
    at = position(connection)
    if sum(at.families.values()) != at.seq:  # Each message has a number of its family too
        raise JournalDamaged(f"stream: ends at message {at.seq}, its families at {at.families}")
    return at


def verify(connection: sqlite3.Connection) -> int:
    """Check every row; return how many messages they hold. Raises JournalDamaged."""
    n_messages, last = 0, 0
    following = {family: 1 for family in FAMILIES} | kept_from(connection)
    for row in between(connection, 0, 1 << 62):
        if row.seq <= last or row.family_seq != following.get(row.family):
            raise JournalDamaged(f"stream: before message {row.seq} one of {row.family} is missing")
        last, following[row.family] = row.last_seq, row.last_family_seq + 1
        n_messages += row.count
    return n_messages


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables of version 1 to this one."""
    for table in ("stream", "stream_identity"):
        add_column(connection, table, "digest", "BLOB NOT NULL DEFAULT x''")
    for (seq,) in connection.execute("SELECT seq FROM stream").fetchall():
        values = connection.execute(
            "SELECT seq, family, family_seq, count, ts_ns, payload, journal_seq FROM stream WHERE seq = ?",
            (seq,),
        ).fetchone()
        connection.execute("UPDATE stream SET digest = ? WHERE seq = ?", (seal(*values), seq))
    for values in connection.execute("SELECT stream, epoch FROM stream_identity").fetchall():
        connection.execute("UPDATE stream_identity SET digest = ?", (seal(*values),))
    for family in FAMILIES:
        connection.execute(
            "INSERT INTO stream_kept SELECT family, family_seq FROM stream"
            " WHERE family = ? AND family_seq > 1 AND seq ="
            " (SELECT min(seq) FROM stream WHERE family = ?)",
            (family, family),
        )


def _whole(row: tuple[Any, ...]) -> StreamRow:
    if seal(*row[:-1]) != row[-1]:
        raise JournalDamaged(f"stream: message {row[0]} does not match its digest; it was changed or damaged")
    return StreamRow(*row)


def _identity(connection: sqlite3.Connection) -> Identity | None:
    row = connection.execute("SELECT stream, epoch, digest FROM stream_identity").fetchone()
    if row is None:
        return None
    if seal(*row[:-1]) != row[-1]:
        raise JournalDamaged("stream: its name or epoch was changed or damaged")
    return Identity(*row[:-1])
