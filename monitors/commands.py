"""What a person orders while the daemon runs: rows that another process adds and the daemon's writer takes.

The daemon remains the only writer of everything else: it journals a command as an event and applies it like
any other. A command given while no daemon runs waits for the next start.
"""

from __future__ import annotations

import sqlite3

from msgspec import Struct, msgpack

SCHEMA: tuple[str, ...] = (
    "CREATE TABLE IF NOT EXISTS command (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
)


class Acknowledge(Struct, frozen=True, tag=True):
    """Send no reminders of an alert until it grows worse. `key`: the alert's, or the beginning of it."""

    key: str
    ts_ns: int


class Silence(Struct, frozen=True, tag=True):
    """Mail nothing about a rule and subject ("*": all) until a moment. It is recorded all the same."""

    rule: str
    subject: str
    until_ns: int
    reason: str
    ts_ns: int


class Unsilence(Struct, frozen=True, tag=True):
    """End the silences with exactly this rule and subject."""

    rule: str
    subject: str
    ts_ns: int


AlertCommand = Acknowledge | Silence | Unsilence


def submit(connection: sqlite3.Connection, command: AlertCommand) -> None:
    """Add a command, within the caller's transaction."""
    connection.execute("INSERT INTO command (payload) VALUES (?)", (msgpack.encode(command),))


def take(connection: sqlite3.Connection, limit: int = 100) -> list[AlertCommand]:
    """Remove the oldest commands and return them, within the transaction that journals them."""
    rows = connection.execute("SELECT id, payload FROM command ORDER BY id LIMIT ?", (limit,)).fetchall()
    connection.executemany("DELETE FROM command WHERE id = ?", [(row[0],) for row in rows])
    return [msgpack.decode(row[1], type=AlertCommand) for row in rows]
