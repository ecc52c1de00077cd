"""Daily bars of Yahoo on disk: one Parquet file per symbol, with the range asked for and the time of asking.

The files are ordinary price files in Yahoo's layout: `open_source` reads the folder as it stands.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import DataError
from feeds.sessions import day_number, session_closes, session_days

_KEY = b"smallcap"
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=\-]{0,19}$")
_COLUMNS = ("Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits")


class Entry(NamedTuple):
    """What the cache holds of a symbol: days asked for (both included) and the moment of asking."""

    start: int
    end: int
    fetched_ns: int

    def covers(self, start: int, end: int) -> bool:
        """Whether it held all that there was of these days when it was fetched."""
        return self.start <= start and (self.end >= end or self.end >= _day(self.fetched_ns))

    def age_s(self, now_ns: int) -> float:
        return (now_ns - self.fetched_ns) / 1e9


class YahooCache:
    """Files `SYMBOL.parquet` in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, symbol: str) -> Path:
        """Return the file of a symbol. Raises DataError for what cannot be one: it becomes a file name."""
        if not _SYMBOL.match(symbol):
            raise DataError(f"{symbol!r} is no symbol that Yahoo could know")
        return self.folder / f"{symbol}.parquet"

    def find(self, symbol: str) -> Entry | None:
        """Return what is cached of a symbol; a file that cannot be read counts as nothing."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(symbol)
        if not path.exists():
            return None
        try:
            return Entry(**json.loads(pq.read_schema(path).metadata[_KEY]))
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None

    def store(self, symbol: str, frame: Any, entry: Entry) -> bool:
        """Write a symbol's bars whole or not at all; return whether a bar of an unfinished session was left
        out. Raises DataError where that leaves nothing, or the folder cannot be written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        days = np.array([day_number(date) for date in frame.index.date], np.int64)
        done = session_closes(np.unique(days))[np.unique(days, return_inverse=True)[1]] <= entry.fetched_ns
        columns = {"Date": pa.array(days[done].astype("datetime64[D]"))}
        for name in _COLUMNS:
            values = frame[name].to_numpy(copy=True) if name in frame.columns else np.zeros(len(days))
            columns[name] = pa.array(np.asarray(values, np.float64)[done])
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(entry._asdict()).encode()})
        path = self.path(symbol)
        scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, scratch)
            scratch.replace(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None
        finally:
            scratch.unlink(missing_ok=True)
        return not bool(done.all())


def _day(ns: int) -> int:
    return int(session_days(np.array([ns]))[0])


def date_of(day: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=day)


def today(now_ns: int) -> int:
    """Return the day number in New York."""
    return _day(now_ns)
