"""The open alerts and the silences as a row of the store, for `alerts list`: read by other processes, written
with what changed them and with each tick, so that their values are a minute old at most."""

from __future__ import annotations

import sqlite3

from msgspec import Struct, msgpack

from monitors.episodes import OpenAlert
from monitors.silences import Silence
from storage.journal import JournalDamaged
from storage.live import add_column
from storage.seal import seal

SCHEMA: tuple[str, ...] = (
    """CREATE TABLE IF NOT EXISTS alert_listing (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        payload BLOB NOT NULL,
        digest BLOB NOT NULL DEFAULT x''
    )""",
)


class Listing(Struct, frozen=True):
    ts_ns: int  # when it was written
    alerts: list[OpenAlert]
    silences: list[Silence]
    replayed_to_ns: int | None = None  # the newest bar, which dates what rests on bars; None: no replay


def save(connection: sqlite3.Connection, listing: Listing) -> None:
    """Replace the listing, within the caller's transaction."""
    payload = msgpack.encode(listing)
    connection.execute("INSERT OR REPLACE INTO alert_listing VALUES (1, ?, ?)", (payload, seal(payload)))


def load(connection: sqlite3.Connection) -> Listing:
    """Return the listing; an empty one of a store that never had an alert or a command.

    Raises JournalDamaged.
    """
    row = connection.execute("SELECT * FROM alert_listing").fetchone()
    if row is None:
        return Listing(0, [], [])
    _, payload, *digest = row  # Version 1 had none
    if digest and digest[0] != seal(payload):
        raise JournalDamaged("alert listing: does not match its digest; it was changed or damaged")
    return msgpack.decode(payload, type=Listing)


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the table of version 1 to this one."""
    add_column(connection, "alert_listing", "digest", "BLOB NOT NULL DEFAULT x''")
    for (payload,) in connection.execute("SELECT payload FROM alert_listing").fetchall():
        connection.execute("UPDATE alert_listing SET digest = ?", (seal(payload),))
