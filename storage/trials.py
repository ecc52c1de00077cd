"""The trial registry: every configuration ever run on a data set, counted by itself.

1. A configuration is counted once per data set, however often it is run: (data_fingerprint, config_hash)
   is unique. Running it again replaces its figures.
2. Nothing is ever deleted: what was tried and did not work is what deflates the best one's Sharpe ratio.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from storage.database import Connection, transaction

# `storage.models.Trial` is the same table for programs that use SQLModel; a test keeps them equal.
SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS trials (
        id VARCHAR(32) NOT NULL PRIMARY KEY,
        data_fingerprint VARCHAR NOT NULL,
        config_hash VARCHAR(64) NOT NULL,
        created_at VARCHAR NOT NULL,
        command VARCHAR NOT NULL,
        sharpe FLOAT,
        n INTEGER NOT NULL,
        skew FLOAT,
        kurtosis FLOAT,
        event_log_hash VARCHAR(64) NOT NULL,
        label VARCHAR NOT NULL,
        CONSTRAINT trials_once UNIQUE (data_fingerprint, config_hash)
    )
    """,
)


class Trial(NamedTuple):
    """One configuration on one data set. The Sharpe ratio is per day, None where there is none."""

    data_fingerprint: str
    config_hash: str
    created_at: str  # ISO, UTC; of the first run
    command: str
    sharpe: float | None
    n: int  # days
    skew: float | None
    kurtosis: float | None
    event_log_hash: str
    label: str


class Trials(NamedTuple):
    """How many configurations were tried on a data set, and the daily Sharpe ratios of those with one."""

    total: int
    sharpes: tuple[float, ...]


def config_hash(configuration: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a configuration, whatever the order of its keys."""
    plain = json.dumps(configuration, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(plain.encode()).hexdigest()


def record_trial(url: str, trial: Trial) -> Trials:
    """Write a trial and return all of its data set, this one included. Raises StorageError."""
    key = hashlib.sha256(f"{trial.data_fingerprint}\n{trial.config_hash}".encode()).hexdigest()[:32]
    with transaction(url) as connection:
        _create(connection)
        connection.execute(_UPSERT, {"id": key, **trial._asdict()})
        return _trials(connection, trial.data_fingerprint)


def read_trials(url: str, data_fingerprint: str) -> Trials:
    """Return what was tried on a data set. Raises StorageError."""
    with transaction(url) as connection:
        _create(connection)
        return _trials(connection, data_fingerprint)


def _create(connection: Connection) -> None:
    for statement in SCHEMA:
        connection.execute(statement)


def _trials(connection: Connection, data_fingerprint: str) -> Trials:
    rows = connection.execute(
        "SELECT sharpe FROM trials WHERE data_fingerprint = :data ORDER BY created_at, id",
        {"data": data_fingerprint},
    )
    return Trials(len(rows), tuple(row[0] for row in rows if row[0] is not None))


_FIELDS = ("id", *Trial._fields)
_REPLACED = ("command", "sharpe", "n", "skew", "kurtosis", "event_log_hash", "label")
_UPSERT = (
    f"INSERT INTO trials ({', '.join(_FIELDS)}) VALUES ({', '.join(':' + name for name in _FIELDS)})"
    " ON CONFLICT (data_fingerprint, config_hash) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
)
