"""What an input made the monitor say, as its journal row names it: so the chain covers stream and outbox too.

A row of the journal names each row of the stream and each transition of the outbox that it caused, by digest.
`checked` reads journal rows along with those: one that is missing, that was changed or that nobody caused is
damage. Stream rows may be missing that the log says it has forgotten.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from msgspec import MsgspecError, Struct, msgpack

from monitors import listing, outbox_tables, stream_log
from monitors.stream_log import StreamRow
from storage.journal import Entry, JournalDamaged


class Said(Struct, frozen=True, array_like=True):
    """What one input caused."""

    before: int  # the number of the stream's last message before it
    rows: list[tuple[str, int, int, bytes]]  # of the stream: family, family_seq, count, digest
    told: list[bytes]  # the digests of transitions


def encode(before: int, rows: Sequence[StreamRow], told: list[bytes]) -> bytes:
    """Return what the journal row is to hold. before: the number of the stream's last message."""
    return msgpack.encode(
        Said(before, [(row.family, row.family_seq, row.count, row.digest) for row in rows], told)
    )


def checked(connection: sqlite3.Connection, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yield journal rows, each checked against stream and outbox; before and after, what is kept of those.

    All of the outbox is checked, of the stream what the rows caused and the newest of each family. Rows of
    version 1 do not say what they caused. Raises JournalDamaged.
    """
    try:
        yield from _checked(connection, entries)
    except (sqlite3.DatabaseError, MsgspecError, TypeError, ValueError, OverflowError) as error:
        # A column can lose its type as well as its value
        raise JournalDamaged(f"stream or outbox cannot be read: {error}") from None


def _checked(connection: sqlite3.Connection, entries: Iterator[Entry]) -> Iterator[Entry]:
    told = outbox_tables.check(connection)
    at = stream_log.check(connection)
    listing.load(connection)
    kept = stream_log.kept_from(connection)
    last: int | None = None
    newest = 0
    for entry in entries:
        if entry.said:
            said = msgpack.decode(entry.said, type=Said)
            if last is not None and said.before != last:
                raise JournalDamaged(
                    f"journal: row {entry.seq} continues the stream at {said.before}, not {last}"
                )
            last = _check_stream(connection, entry.seq, said, kept)
            if told.get(entry.seq, []) != said.told:
                raise JournalDamaged(f"outbox: the alerts are not those of journal row {entry.seq}")
        newest = entry.seq
        yield entry
    if max(told, default=0) > newest:
        raise JournalDamaged(f"outbox: journal row {max(told)} has alerts and is none")
    if last is not None and at.seq != last:
        raise JournalDamaged(f"stream: ends at message {at.seq}, the journal at {last}")


def _check_stream(connection: sqlite3.Connection, journal_seq: int, said: Said, kept: dict[str, int]) -> int:
    """Check the stream rows of a journal row; return the number of their last message."""
    last = said.before + sum(count for _, _, count, _ in said.rows)
    found = {row.seq: row for row in stream_log.between(connection, said.before, last)}
    seq = said.before + 1
    for family, family_seq, count, digest in said.rows:
        row = found.pop(seq, None)
        forgotten = row is None and family_seq < kept.get(family, 1)
        if not forgotten and (row is None or row.digest != digest):
            raise JournalDamaged(
                f"stream: message {seq} of journal row {journal_seq} is missing or not its own"
            )
        seq += count
    if found:
        raise JournalDamaged(f"stream: message {min(found)} is of no journal row")
    return last
