"""`monitor --verify`: everything that a store keeps, read and checked. It changes nothing."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from engine.counted import counted
from engine.errors import DataError
from monitors import stream_log
from monitors.writer import SCHEMA
from scripts import tables
from scripts.progress import Progress
from storage import found, high_water, journal
from storage.high_water import Mark
from storage.journal import Head, JournalDamaged


def verify_store(path: Path, *, json: bool) -> int:
    """Verify a store (its folder, or the database file), also while its monitor runs.

    Raises JournalDamaged where it is damaged.
    """
    began_s = time.perf_counter()
    counts, head = verified(path)
    seconds = time.perf_counter() - began_s
    if json:
        from reports.manifest import to_json

        outcome = {
            "journal_seq": head.seq, "journal_hash": head.hash.hex(), "counts": counts, "damaged": False,
            "seconds": round(seconds, 4),
        }  # fmt: skip
        print(to_json(outcome, indent=None), end="")
    else:
        tables.print_line(f"{path}: whole ({seconds:.1f} s)")
        tables.print_line(", ".join(counted(n, what.replace("_", " ")) for what, n in counts.items()))
        tables.print_line(f"hash of the last journal row: {head.hash.hex()}")
    return 0


def verified(path: Path) -> tuple[dict[str, int], Head]:
    """Return how much of what a store holds, and the head of its journal. Raises JournalDamaged."""
    folder = path.parent if path.name == found.DATABASE else path
    mark = high_water.read(folder / found.MARK)  # Before the database, which only goes on from there
    with found.read_only(path) as connection:
        connection.execute("BEGIN")  # All of it as at one moment
        try:
            return _verified(path, connection, mark)
        except (JournalDamaged, sqlite3.DatabaseError) as error:
            raise JournalDamaged(f"{path}: {error}; what to do: docs/runbook.md") from None


def _verified(path: Path, connection: sqlite3.Connection, mark: Mark | None) -> tuple[dict[str, int], Head]:
    """Return how much of what was found, and the head of the journal."""
    if (version := found.version_of(connection, path)) != found.VERSION:
        raise DataError(
            f"{path}: is of an older version (tables {version}); a start of its monitor brings it up to date"
        )
    whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if whole != "ok":
        raise JournalDamaged(whole)
    newest = journal.newest_seq(connection)
    head = journal.base(connection)
    n_rows = newest - head.seq
    with Progress(n_rows, what="journal") as progress:
        for n, entry in enumerate(SCHEMA.checked(connection, journal.read(connection)), 1):
            head = Head(entry.seq, entry.hash)
            progress.importing(n, n_rows)
    found.check_mark(connection, mark)
    n_snapshots = sum(1 for _ in found.snapshots(connection))
    (n_alerts, n_mails) = (
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("outbox", "mail")
    )
    return {
        "journal_rows": n_rows,
        "snapshots": n_snapshots,
        "stream_messages": stream_log.verify(connection),
        "alerts": n_alerts,
        "mails": n_mails,
    }, head
