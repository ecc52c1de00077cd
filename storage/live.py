"""The store of the live monitor: one folder, one SQLite file, one process.

    STORE/live.db         journal, snapshots, and what the parts of the monitor keep (each brings its schema)
    STORE/high-water      how far the journal had come (`storage.high_water`)
    STORE/lock            held by the running monitor; the kernel frees it with the process
    STORE/damaged-...     copies of what was found damaged

1. A transaction is on the disk when it returns (WAL, synchronous=FULL). The high-water mark is written with
   it and on the disk soon after, at the next `maintain`.
2. What cannot be written ends the process (StoreFailed, exit code 74) and is never tried again: after a
   failed fsync nobody knows what the disk holds. Starting again finds out.
3. Damage is never silent: `open_store` checks before it writes anything, keeps a copy and refuses (exit code
   65): the journal from the newest good snapshot on, and what the parts check of theirs.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from engine.errors import ConfigError, SmallcapError
from storage import journal
from storage.found import DATABASE, MARK, VERSION, Checked, Snapshot, asides_of, connect, kept, look
from storage.high_water import HighWater, Mark
from storage.journal import Head, JournalDamaged
from storage.log_room import make_room

LOCK = "lock"
SNAPSHOTS_KEPT, SNAPSHOTS_SPREAD = 2, 8
SYNC_COMMITS, CHECKPOINT_COMMITS = 16, 256
IDLE_CHECKPOINT_COMMITS = 32  # A commit takes half as long again while the log grows
WAL_BYTES_MAX = 64 * 2**20
LOG_SEEN_COMMITS = 4  # until it is known how large they are

_SCHEMA = (
    *journal.SCHEMA,
    "CREATE TABLE IF NOT EXISTS snapshots (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, data BLOB NOT NULL)",
    # How many transactions changed it without a row of the journal (mails, snapshots): the mark knows it too
    "CREATE TABLE IF NOT EXISTS asides (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL)",
)


class Schema(NamedTuple):
    """The tables that parts of the monitor keep in the store.

    upgrade: brings those of an older version to this one, given the version; inside a transaction.
    checked: yields journal rows as they are and checks what the parts hold because of them, and at the end
    whatever else of theirs a start relies on. Raises JournalDamaged.
    """

    statements: Sequence[str] = ()  # CREATE ... IF NOT EXISTS
    upgrade: Callable[[sqlite3.Connection, int], None] = lambda connection, version: None
    checked: Checked = lambda connection, entries: entries


NO_PARTS = Schema()


class StoreFailed(SmallcapError):
    """The disk refused a write. What was committed before stands; the process must end."""

    exit_code = 74


class StoreLocked(SmallcapError):
    """Another monitor runs on this store."""

    exit_code = 75


class LiveStore:
    """An open store, locked by this process. Use `open_store`."""

    def __init__(self, directory: Path, connection: sqlite3.Connection, mark: HighWater, lock: int) -> None:
        self.directory = directory
        self.connection = connection
        self.head = journal.EMPTY
        self.asides = 0  # transactions that changed something without a row of the journal
        self.snapshot: Snapshot | None = None  # the newest good one when the store was opened
        self.passed_over: Sequence[str] = ()  # newer ones, and what is wrong with each
        self._mark = mark
        self._lock = lock
        self._file = (directory / DATABASE).stat()
        self._new_head = journal.EMPTY  # as it will be when the transaction is committed
        self._commits = 0  # since the log was folded
        self._is_log_seen = False

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Within, statements are one transaction: on the disk at the end, undone by an exception.

        Nothing may be awaited within. Raises StoreFailed when the disk refuses; then end the process.
        """
        self._new_head = self.head
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self.failed(error) from error
        before = self.connection.total_changes
        try:
            yield self.connection
            if aside := self._new_head == self.head and self.connection.total_changes != before:
                self.connection.execute("INSERT OR REPLACE INTO asides VALUES (1, ?)", (self.asides + 1,))
        except BaseException as error:
            self._new_head = self.head
            with suppress(sqlite3.Error):  # After an error of the disk SQLite has undone it by itself
                self.connection.execute("ROLLBACK")
            if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
                raise self.failed(error) from error
            raise
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self.failed(error) from error
        if aside or self._new_head != self.head:
            self.head = self._new_head
            self.asides += aside
            self._raise_mark()
        self._commits += 1

    def begin_mark(self) -> None:
        """Write the first mark."""
        self._raise_mark()
        try:
            self._mark.sync()
        except OSError as error:
            raise self.failed(error) from error

    def _raise_mark(self) -> None:
        try:
            self._mark.raise_to(Mark(self.head, self.asides))
        except OSError as error:
            raise self.failed(error) from error

    def maintain(self, *, idle: bool = True) -> None:
        """Do what need not be done while somebody waits: sync the mark, fold the log into the database.

        idle: nobody waits; otherwise it is done now and then.
        """
        try:
            if idle or self._commits % SYNC_COMMITS == 0:
                self._require_same_file()
                self._mark.sync()
            if not self._is_log_seen and self._commits >= LOG_SEEN_COMMITS:
                self._is_log_seen = True
                make_room(self.directory / f"{DATABASE}-wal", LOG_SEEN_COMMITS)
            if self._commits >= (IDLE_CHECKPOINT_COMMITS if idle else CHECKPOINT_COMMITS):
                self._commits = 0
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise self.failed(error) from error

    def _require_same_file(self) -> None:
        """Raise StoreFailed when the file that is written to is no longer where it is sought."""
        path = self.directory / DATABASE
        if not path.exists() or not os.path.samestat(path.stat(), self._file):
            raise StoreFailed(
                f"{path}: was removed or replaced while the monitor ran; what it has said since is lost"
            )

    def append(self, kind: str, ts_ns: int, payload: bytes, outcome: bytes, said: bytes = b"") -> int:
        """Write a journal row inside the transaction; return its number."""
        self._new_head = journal.append(self.connection, self._new_head, kind, ts_ns, payload, outcome, said)
        return self._new_head.seq

    def save_snapshot(self, data: bytes, *, rows_kept: int | None = None) -> None:
        """Write the state after the row appended last, inside the transaction; forget those not needed.

        Kept are the newest two and, with `rows_kept`, one every eighth part of so many rows, the oldest of
        them before the rows to be kept: they can be decided again from there.
        """
        head = self._new_head
        self.connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (*head, data))
        seqs = [row[0] for row in self.connection.execute("SELECT seq FROM snapshots ORDER BY seq DESC")]
        keep = set(seqs[:SNAPSHOTS_KEPT])
        if rows_kept is not None:
            oldest = max((seq for seq in seqs if seq <= head.seq - rows_kept), default=0)
            spacing = max(rows_kept // SNAPSHOTS_SPREAD, 1)
            spread = {seq // spacing: seq for seq in seqs if seq >= oldest}  # The oldest of each part
            keep |= {oldest, *spread.values()}
        self.connection.executemany(
            "DELETE FROM snapshots WHERE seq = ?", [(seq,) for seq in seqs if seq not in keep]
        )

    def prunable(self, rows_kept: int) -> int:
        """Return the last row before the oldest snapshot, 0 if that is among the newest `rows_kept` rows."""
        oldest = self.connection.execute("SELECT min(seq) FROM snapshots").fetchone()[0]
        return oldest - 1 if oldest is not None and oldest <= self._new_head.seq - rows_kept else 0

    def entries(self, after: Head | None = None) -> Iterator[journal.Entry]:
        """Yield the journal rows after `after` (None: all that are kept), checked."""
        return journal.read(self.connection, after, self.head.seq)

    def close(self) -> None:
        """Write what the log still holds into the database, close the files and free the lock.

        Raises StoreFailed where the disk refuses: nothing is lost by that, but somebody must hear of it, and
        SQLite's own closing is silent about it.
        """
        try:
            self._mark.sync()
            if not self.connection.in_transaction:
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (OSError, sqlite3.Error) as error:
            raise self.failed(error) from error
        finally:
            self.connection.close()
            self._mark.close()
            os.close(self._lock)

    def failed(self, error: BaseException) -> StoreFailed:
        """Return the error with which the process must now end."""
        return StoreFailed(f"{self.directory}: cannot write the store: {error}; free or repair the disk")

    def damaged(self, what: str) -> JournalDamaged:
        """Keep a copy of what was found damaged while the monitor ran; return the error to end it with."""
        return kept(self.directory, what)


def open_store(directory: Path, schema: Schema = NO_PARTS) -> LiveStore:
    """Open or create the store, check it, and hold its lock until `close`.

    Raises StoreLocked, ConfigError (permissions), DataError (made by a newer program), JournalDamaged (after
    keeping a copy) and StoreFailed.
    """
    _private(directory)
    with ExitStack() as undo:
        try:
            lock = _locked(directory / LOCK)
            undo.callback(os.close, lock)
            mark = HighWater(directory / MARK)
            undo.callback(mark.close)
            found = look(directory, mark.mark, schema.checked)
            connection = connect(directory / DATABASE)
            undo.callback(connection.close)
        except OSError as error:
            raise StoreFailed(f"{directory}: cannot open the store: {error}") from error
        store = LiveStore(directory, connection, mark, lock)
        store.head, store.snapshot, store.passed_over = found
        _prepare(store, schema)
        if mark.mark is None:
            store.begin_mark()
        undo.pop_all()
    return store


def add_column(connection: sqlite3.Connection, table: str, column: str, declared: str) -> None:
    """Add a column to a table of an older version."""
    if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {declared}")


def _prepare(store: LiveStore, schema: Schema) -> None:
    """Create what is missing, and bring an older version to this one."""
    connection = store.connection
    try:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreFailed(f"{store.directory}: its file system cannot hold a write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # Its errors would be swallowed: see `maintain`
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise store.failed(error) from error
    with store.transaction():
        if version == 1:
            journal.upgrade(connection)
        for statement in (*_SCHEMA, *schema.statements):
            connection.execute(statement)
        if 0 < version < VERSION:
            schema.upgrade(connection, version)
        store.asides = asides_of(connection)
        if version != VERSION:
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"--store {directory}: {error.strerror}") from None
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"--store {directory}: is not a folder")
    if status.st_uid != os.getuid():
        raise ConfigError(f"--store {directory}: must belong to uid {os.getuid()}, was uid {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o022:
        raise ConfigError(
            f"--store {directory}: must not be writable by others, was mode"
            f" {stat.S_IMODE(status.st_mode):o}; run: chmod 700 {directory}"
        )


def _locked(path: Path) -> int:
    """Return the open lock file. The kernel frees the lock when the process ends, however it ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(file)
        raise StoreLocked(f"{path.parent}: locked by pid {holder}; one monitor per store") from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file
