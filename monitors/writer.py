"""The one writer: an input becomes a journal row, and everything it causes, in one transaction.

    BEGIN  core.apply  stream  outbox  journal  listing  COMMIT  high-water mark  send  (snapshot)

1. Nothing leaves the process before the commit that it belongs to, and then everything at once: what can be
   done later is done later.
2. Starting is recovering: the newest snapshot, then the rows after it through the same core.
3. An exception out of `take` leaves the core in an unknown state: the process must end, and start again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.errors import DataError
from engine.slab import Bars
from feeds.live import LiveRow
from monitors import inputs, listing, outbox, outbox_pruning, outbox_tables, said, stream_log
from monitors.batches import Batch, Encoder
from monitors.core import LiveCore, Outcome
from monitors.inputs import Input, Plan, Readings, Stop
from monitors.stream_log import StreamRow
from monitors.view import NO_POSITIONS
from storage import journal
from storage.found import read_only
from storage.live import LiveStore, Schema

PRUNE_INPUTS, PRUNE_ROWS, PRUNE_STREAM_ROWS = 16, 64, 512  # every so many inputs so many rows
OUTBOX_KEPT_NS = 7 * 86_400 * 1_000_000_000  # Longer than a mail is tried, and than its name may come again


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    for part in (stream_log, outbox_tables, listing):
        part.upgrade(connection)


SCHEMA = Schema((*stream_log.SCHEMA, *outbox_tables.SCHEMA, *listing.SCHEMA), _upgrade, said.checked)


Send = Callable[[Sequence[StreamRow]], None]


class Taken(NamedTuple):
    """What one input caused, committed."""

    given: Input
    outcome: Outcome
    rows: Sequence[StreamRow]  # to be published


class Writer:
    """Owns the core and all writing of inputs to the store.

    rows_kept: of the journal, at least; what is older goes a little at a time. None: all.
    """

    def __init__(
        self, store: LiveStore, core: LiveCore, *, snapshot_inputs: int, rows_kept: int | None = None
    ) -> None:
        self.store = store
        self.core = core
        self._snapshot_inputs = snapshot_inputs
        self._rows_kept = rows_kept
        self._pruning = rows_kept is not None  # Whether anything may be left to prune
        self._since_snapshot = 0
        self._encoder: Encoder | None = None
        self._newest: tuple[int, Bars] | None = None
        self._numbers: dict[str, int] = {}  # of each family's newest message; empty: not looked up yet

    def recover(self) -> int:
        """Bring the core to where the journal ends; return how many rows were replayed.

        Raises DataError when a row is not decided as it was: this is not the program that wrote it.
        """
        after: journal.Head | None = None
        if self.store.snapshot is not None:
            self.core.restore(self.store.snapshot.data)
            after, self.store.snapshot = self.store.snapshot.head, None  # It is large
        n = 0
        for entry in self.store.entries(after):
            given, readings = inputs.decode(entry)
            outcome = self.core.apply(given, readings)
            if outcome.digest != entry.outcome:
                raise DataError(different(entry))
            n += 1
        self._since_snapshot = n
        if self.core.plan is not None:
            self._encoder = self._new_encoder()
        return n

    def take(self, given: Input, readings: Readings, send: Send | None = None) -> Taken:
        """Journal an input and do what follows from it; `send` is called with what may be published.

        Raises StoreFailed, and whatever the core raises.
        """
        given = self.core.admit(given)
        payload = inputs.encode(given, readings)
        with self.store.transaction() as connection:
            seq = self.store.head.seq + 1
            outcome = self.core.apply(given, readings)
            if isinstance(given, Plan):
                self._encoder = self._new_encoder()
            numbers = self._numbers or stream_log.numbers(connection)
            batches = self._batches(given, outcome, readings)
            rows = stream_log.append(connection, seq, batches, after=numbers)
            told = outbox.enqueue(connection, outcome.transitions, readings.now_ns, seq)
            self.store.append(
                inputs.KINDS[type(given)], readings.now_ns, payload, outcome.digest,
                said.encode(sum(numbers.values()), rows, told),
            )  # fmt: skip
            if outcome.transitions or not isinstance(given, LiveRow):  # Rows come by the thousand
                listing.save(connection, self.core.machine.monitors.listing)
        self._numbers = numbers | {row.family: row.last_family_seq for row in rows}
        if isinstance(given, LiveRow):
            self._newest = seq, given.bars
        if send is not None and rows:
            send(rows)
        self._since_snapshot += 1
        if self._since_snapshot >= self._snapshot_inputs or isinstance(given, Stop):
            with self.store.transaction():
                self.store.save_snapshot(self.core.snapshot(), rows_kept=self._rows_kept)
            self._since_snapshot = 0
            self._pruning = self._rows_kept is not None
        elif self._pruning and seq % PRUNE_INPUTS == 0:
            with self.store.transaction() as connection:
                self._prune(connection, readings.now_ns)
        return Taken(given, outcome, rows)

    def _prune(self, connection: sqlite3.Connection, now_ns: int) -> None:
        """Forget a few of the oldest rows and what they said."""
        assert self._rows_kept is not None
        last = self.store.prunable(self._rows_kept)
        begin = journal.prune(connection, last, PRUNE_ROWS)
        n_rows = stream_log.prune(connection, begin, PRUNE_STREAM_ROWS)
        n_alerts = outbox_pruning.prune(connection, begin, now_ns - OUTBOX_KEPT_NS) if n_rows == 0 else 0
        self._pruning = begin < last or n_rows + n_alerts > 0

    def bars_of(self, journal_seq: int) -> tuple[Sequence[str], Bars] | None:
        """Return the symbols and bars of a journal row, None when it is no row of bars."""
        symbols = self.core.machine.loop.universe.symbols
        if self._newest is not None and self._newest[0] == journal_seq:
            return symbols, self._newest[1]
        with read_only(self.store.directory) as connection:
            entry = journal.entry_at(connection, journal_seq)
        given = None if entry is None else inputs.decode(entry)[0]
        return (symbols, given.bars) if isinstance(given, LiveRow) else None

    def _new_encoder(self) -> Encoder:
        loop = self.core.machine.loop
        return Encoder(loop.universe, loop.strategies, loop.desk.accounts)  # type: ignore[arg-type,attr-defined]

    def _batches(self, given: Input, outcome: Outcome, readings: Readings) -> list[Batch]:
        if self._encoder is None:  # Before the first plan
            return []
        return self._encoder.batches(
            outcome.events,
            ts_ns=int(given.bars.ts[0]) if isinstance(given, LiveRow) else readings.now_ns,
            positions=outcome.view.positions if outcome.view else NO_POSITIONS,
            transitions=outcome.transitions,
        )


def different(entry: journal.Entry) -> str:
    """Return what to say when a replay decides otherwise than the journal says."""
    return (
        f"journal: row {entry.seq} ({entry.kind}) is decided differently now: the program has changed since."
        " Start the version that wrote it and stop it with SIGTERM, then start this one"
    )
