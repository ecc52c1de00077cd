"""What a store on the disk holds: read and checked before anything writes, and kept where it is damaged."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from engine import snapshot
from engine.errors import DataError
from storage import journal
from storage.high_water import Mark
from storage.journal import Head, JournalDamaged

DATABASE, MARK = "live.db", "high-water"
VERSION = 2  # of the tables; raise with every change of a schema, and migrate in `upgrade`
_BUSY_S = 2.0  # a command of another process is writing

# Yields journal rows as they are, and raises JournalDamaged for what else does not go with them
Checked = Callable[[sqlite3.Connection, Iterator[journal.Entry]], Iterator[journal.Entry]]


class Snapshot(NamedTuple):
    """The state after journal row `head.seq`, as `engine.snapshot` encoded it."""

    head: Head
    data: bytes


class Found(NamedTuple):
    """What a store was found to hold when it was opened."""

    head: Head
    snapshot: Snapshot | None
    passed_over: Sequence[str]


NOTHING = Found(journal.EMPTY, None, ())


def version_of(connection: sqlite3.Connection, place: Path) -> int:
    """Return the version of a store's tables. Raises DataError when this program does not know it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise DataError(
            f"{place}: was written by a newer version of this program"
            f" (tables {version}, this one knows {VERSION}); install that one, or use another --store"
        )
    return version


def snapshots(connection: sqlite3.Connection) -> Iterator[Snapshot]:
    """Yield the snapshots, newest first. Raises JournalDamaged at one that no start could use."""
    for seq, digest, data in connection.execute("SELECT seq, hash, data FROM snapshots ORDER BY seq DESC"):
        yield _whole(connection, seq, digest, data)


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Within, a connection that can only read a store's database, also while its monitor runs."""
    if path.is_dir():
        path = path / DATABASE
    if not path.exists():
        raise DataError(f"{path}: no such store")
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=_BUSY_S, uri=True)
    ) as connection:
        yield connection


def connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    return sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)


def look(directory: Path, mark: Mark | None, checked: Checked) -> Found:
    """Return the head of the journal and the newest good snapshot, the chain between them verified.

    Reads through a connection that cannot write: closing another would fold the log into the database, and
    what was found damaged must be kept as it was found.
    """
    path = directory / DATABASE
    if not path.exists() or path.stat().st_size == 0:
        if mark is not None and mark.head.seq > 0:
            raise kept(directory, f"{DATABASE} is gone; the journal had {mark.head.seq} rows")
        return NOTHING
    try:
        if mark is None or mark.head.seq == 0:
            # Killed while it was made: undoing what was half done needs a connection that writes
            with closing(connect(path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with read_only(path) as connection:
            return _checked_journal(directory, connection, mark, checked)
    except (JournalDamaged, sqlite3.DatabaseError, OverflowError) as error:
        raise kept(directory, str(error)) from None


def _checked_journal(
    directory: Path, connection: sqlite3.Connection, mark: Mark | None, checked: Checked
) -> Found:
    version = version_of(connection, directory)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    newest = journal.newest_seq(connection) if "journal" in tables else 0
    marked = mark.head.seq if mark is not None else 0
    if newest == 0 and marked == 0:
        return NOTHING
    if version == 0:
        raise JournalDamaged("its version is gone")
    check_mark(connection, mark)
    found, passed_over = _newest_snapshot(connection)
    # From the snapshot's own row on: it says how far stream and outbox had come
    head = journal.base(connection) if found is None else journal.head_at(connection, found.head.seq - 1)
    if head is None:
        raise JournalDamaged(f"journal: row {found.head.seq - 1 if found else 0} is missing")
    if found is None and head.seq > 0:
        raise JournalDamaged(f"journal: begins at row {head.seq + 1}, and no snapshot is whole")
    entries = journal.read(connection, head, newest)
    for entry in checked(connection, entries) if version == VERSION else entries:
        head = Head(entry.seq, entry.hash)
    if head.seq != newest:
        raise JournalDamaged(f"journal: ends at row {head.seq}, should reach {newest}")
    return Found(head, found, passed_over)


def check_mark(connection: sqlite3.Connection, mark: Mark | None) -> None:
    """Raise JournalDamaged unless a database holds everything up to a mark."""
    newest = journal.newest_seq(connection)
    if mark is None:
        raise JournalDamaged(f"{MARK} is missing or unreadable, the journal has {newest} rows")
    if newest < mark.head.seq:
        raise JournalDamaged(f"journal: ends at row {newest}, but row {mark.head.seq} was on the disk")
    if journal.head_at(connection, mark.head.seq) != mark.head:
        raise JournalDamaged(f"journal: row {mark.head.seq} is not the one that was on the disk")
    if mark.asides and (n_asides := asides_of(connection)) < mark.asides:
        raise JournalDamaged(f"store: ends at change {n_asides}, but change {mark.asides} was on the disk")


def asides_of(connection: sqlite3.Connection) -> int:
    """Return how many transactions have changed the store without a row of the journal."""
    row = connection.execute("SELECT n FROM asides").fetchone()
    return 0 if row is None else row[0]


def kept(directory: Path, what: str) -> JournalDamaged:
    copy = _quarantined(directory)
    return JournalDamaged(
        f"{directory}: {what}. Nothing was changed, a copy is in {copy.name}; what to do: docs/runbook.md"
    )


def _newest_snapshot(connection: sqlite3.Connection) -> tuple[Snapshot | None, list[str]]:
    """Return the newest snapshot that is whole and of this journal, and what is wrong with newer ones."""
    passed_over: list[str] = []
    for seq, digest, data in connection.execute("SELECT seq, hash, data FROM snapshots ORDER BY seq DESC"):
        try:
            return _whole(connection, seq, digest, data), passed_over
        except JournalDamaged as error:
            passed_over.append(str(error))
    return None, passed_over


def _whole(connection: sqlite3.Connection, seq: int, digest: bytes, data: bytes) -> Snapshot:
    if journal.head_at(connection, seq) != (seq, digest) or not isinstance(data, bytes):
        raise JournalDamaged(f"the snapshot of row {seq} is not of the journal")
    try:
        snapshot.check(data)
    except DataError as error:
        raise JournalDamaged(f"the snapshot of row {seq}: {error}") from None
    return Snapshot(Head(seq, digest), data)


def _quarantined(directory: Path) -> Path:
    """Copy the files as they are into a folder named by their content; return it."""
    names = [name for name in (DATABASE, f"{DATABASE}-wal", MARK) if (directory / name).exists()]
    digest = hashlib.sha256()
    for name in names:
        with (directory / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    target = directory / f"damaged-{digest.hexdigest()[:12]}"
    if not target.exists():
        partial = directory / f"{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        for name in names:
            shutil.copy2(directory / name, partial / name)
        partial.rename(target)
    return target
