"""`monitor --replay-journal`: every input of a journal decided again, compared with what was decided then."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path

from engine.errors import DataError
from monitors import inputs
from monitors.core import LiveCore
from monitors.writer import different
from scripts import tables
from scripts.console import prints_beside_results
from scripts.live_assembly import assemble
from scripts.progress import Progress
from scripts.store import readable
from storage import journal
from storage.found import snapshots


def replay_journal(path: Path, *, json: bool) -> int:
    """Replay the journal of a store (its folder, or the database file) from the oldest row it can be.

    That is the first; of a journal whose oldest rows are no longer kept, the one after its oldest snapshot.

    Raises JournalDamaged where the chain of hashes breaks, DataError where an outcome differs.
    """
    began_s = time.perf_counter()
    core = LiveCore(assemble)
    kinds: Counter[str] = Counter()
    with readable(path) as connection:
        n_rows = journal.newest_seq(connection)
        if n_rows == 0:
            raise DataError(f"{path}: its journal is empty")
        with prints_beside_results():
            begin = head = _restored(connection, core)
        with prints_beside_results(), Progress(n_rows, what="journal") as progress:
            for entry in journal.read(connection, begin, n_rows):
                given, readings = inputs.decode(entry)
                if core.apply(given, readings).digest != entry.outcome:
                    raise DataError(f"{path}: {different(entry)}")
                kinds[entry.kind] += 1
                head = journal.Head(entry.seq, entry.hash)
                progress.importing(entry.seq, n_rows)
    seconds = time.perf_counter() - began_s
    if json:
        from reports.manifest import to_json

        outcome = {
            "journal_seq": head.seq,
            "journal_hash": head.hash.hex(),
            "after_seq": begin.seq,
            "kinds": dict(sorted(kinds.items())),
            "identical": True,
            "seconds": round(seconds, 4),
        }
        print(to_json(outcome, indent=None), end="")
    else:
        if begin.seq:
            tables.print_line(f"from the snapshot of row {begin.seq:,} on: older rows are no longer kept")
        tables.print_line(
            f"{head.seq - begin.seq:,} journal rows, each decided again as it was ({seconds:.1f} s)"
        )
        tables.print_line(", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common()))
        tables.print_line(f"hash of the last: {head.hash.hex()}")
    return 0


def _restored(connection: sqlite3.Connection, core: LiveCore) -> journal.Head:
    """Return after which row to begin, with the core as it was then."""
    if journal.base(connection) == journal.EMPTY:
        return journal.EMPTY
    *_, oldest = snapshots(connection)
    core.restore(oldest.data)
    return oldest.head
