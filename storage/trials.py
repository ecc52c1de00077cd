"""The trial registry: every configuration ever run on a data set, counted by itself.

1. A configuration is counted once per data set, however often it is run: (data_fingerprint, config_hash)
   is unique. Running it again replaces its figures.
2. Nothing is ever forgotten: what was tried and did not work is what deflates the best one's Sharpe ratio.
   Only the daily returns are kept of the newest `RETURNS_KEPT` configurations of a data set alone.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.database import Connection, transaction

RETURNS_KEPT = 200  # 30 kB each for 14 years


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


class DailyReturns(NamedTuple):
    """days: int32[n], ascending, counted from 1970; returns: float64[n]."""

    days: NDArray[np.int32]
    returns: NDArray[np.float64]


class Trials(NamedTuple):
    """How many configurations were tried on a data set, the daily Sharpe ratios of those with one, and the
    daily returns of those that have them, the oldest first."""

    total: int
    sharpes: tuple[float, ...]
    daily: tuple[DailyReturns, ...] = ()


def config_hash(configuration: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of a configuration, whatever the order of its keys."""
    plain = json.dumps(configuration, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(plain.encode()).hexdigest()


def record_trial(url: str, trial: Trial, daily: DailyReturns | None = None) -> Trials:
    """Write a trial and return all of its data set, this one included. Raises StorageError."""
    key = hashlib.sha256(f"{trial.data_fingerprint}\n{trial.config_hash}".encode()).hexdigest()[:32]
    with transaction(url) as connection:
        connection.execute(_UPSERT, {"id": key, **trial._asdict()})
        if daily is not None:
            connection.execute(_UPSERT_RETURNS, {"trial_id": key, "daily": packed(daily)})
            _drop_oldest_returns(connection, trial.data_fingerprint, but=key)
        return _trials(connection, trial.data_fingerprint)


def read_trials(url: str, data_fingerprint: str) -> Trials:
    """Return what was tried on a data set. Raises StorageError."""
    with transaction(url) as connection:
        return _trials(connection, data_fingerprint)


def packed(daily: DailyReturns) -> bytes:
    """Return the days, then the returns, little-endian, deflated."""
    return zlib.compress(daily.days.astype("<i4").tobytes() + daily.returns.astype("<f8").tobytes(), 1)


def unpacked(block: bytes) -> DailyReturns:
    plain = zlib.decompress(block)
    n = len(plain) // 12
    return DailyReturns(np.frombuffer(plain, "<i4", n), np.frombuffer(plain, "<f8", n, offset=4 * n))


def _trials(connection: Connection, data_fingerprint: str) -> Trials:
    rows = connection.execute(
        "SELECT sharpe, daily FROM trials LEFT JOIN trial_returns ON trial_id = id"
        " WHERE data_fingerprint = :data ORDER BY created_at, id",
        {"data": data_fingerprint},
    )
    return Trials(
        len(rows),
        tuple(row[0] for row in rows if row[0] is not None),
        tuple(unpacked(row[1]) for row in rows if row[1] is not None),
    )


def _drop_oldest_returns(connection: Connection, data_fingerprint: str, *, but: str) -> None:
    rows = connection.execute(
        "SELECT id FROM trials JOIN trial_returns ON trial_id = id"
        " WHERE data_fingerprint = :data AND id <> :newest ORDER BY created_at DESC, id DESC",
        {"data": data_fingerprint, "newest": but},
    )
    for row in rows[RETURNS_KEPT - 1 :]:
        connection.execute("DELETE FROM trial_returns WHERE trial_id = :id", {"id": row[0]})


_FIELDS = ("id", *Trial._fields)
_REPLACED = ("command", "sharpe", "n", "skew", "kurtosis", "event_log_hash", "label")
_UPSERT = (
    f"INSERT INTO trials ({', '.join(_FIELDS)}) VALUES ({', '.join(':' + name for name in _FIELDS)})"
    " ON CONFLICT (data_fingerprint, config_hash) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _REPLACED)
)
_UPSERT_RETURNS = (
    "INSERT INTO trial_returns (trial_id, daily) VALUES (:trial_id, :daily)"
    " ON CONFLICT (trial_id) DO UPDATE SET daily = excluded.daily"
)
