"""The open alerts and the silences as a row of the store, for `alerts list`: written with the event that
changed them, read by other processes."""

from __future__ import annotations

import sqlite3

from msgspec import Struct, msgpack

from monitors.episodes import OpenAlert
from monitors.silences import Silence

SCHEMA: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS alert_listing (id INTEGER PRIMARY KEY CHECK (id = 1), payload BLOB NOT NULL)",
)


class Listing(Struct, frozen=True):
    ts_ns: int  # when it was written
    alerts: list[OpenAlert]
    silences: list[Silence]


def save(connection: sqlite3.Connection, listing: Listing) -> None:
    """Replace the listing, within the caller's transaction."""
    connection.execute("INSERT OR REPLACE INTO alert_listing VALUES (1, ?)", (msgpack.encode(listing),))


def load(connection: sqlite3.Connection) -> Listing:
    """Return the listing; an empty one of a store that never had an alert or a command."""
    row = connection.execute("SELECT payload FROM alert_listing").fetchone()
    return Listing(0, [], []) if row is None else msgpack.decode(row[0], type=Listing)
