"""The sessions of the New York exchanges (XNYS), kept on disk: working them out is slow for a start.

A file holds the sessions of some whole years as one version of exchange_calendars has them, under a
checksum, in a folder that only this user can write to. Without such a file, or with a bad one, they are
worked out anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
import warnings
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.slab import NS_PER_DAY

Int = NDArray[np.int64]
_CHECKSUM_BYTES = 32


class Hours(NamedTuple):
    """XNYS sessions in order: int64[n] day numbers, UTC ns of opening and close."""

    days: Int
    opens: Int
    closes: Int


@lru_cache(maxsize=8)
def sessions_of_years(first: int, last: int) -> Hours:
    """Return the sessions of the years `first` to `last`."""
    path = cache_folder() / f"xnys-{first}-{last}-{version('exchange_calendars')}"
    hours = _kept(path)
    if hours is None:
        hours = _worked_out(first, last)
        with suppress(OSError):  # A disk that is full or read-only only costs the time again
            _keep(path, hours)
    return hours


def cache_folder() -> Path:
    """Return where the files lie: `smallcap` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "smallcap"


def _kept(path: Path) -> Hours | None:
    try:
        folder = path.parent.stat()
        if folder.st_uid != os.geteuid() or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        data = path.read_bytes()
    except OSError:
        return None
    checksum, body = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if checksum != hashlib.sha256(body).digest():
        return None
    return Hours(*np.frombuffer(body, np.int64).reshape(3, -1))


def _keep(path: Path, hours: Hours) -> None:
    if not path.is_absolute():  # A user without a home
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    body = np.stack(hours).tobytes()
    half_written = path.with_name(f"{path.name}.{os.getpid()}")
    half_written.write_bytes(hashlib.sha256(body).digest() + body)
    half_written.replace(path)


def _worked_out(first: int, last: int) -> Hours:
    import exchange_calendars  # With pandas half a second

    with warnings.catch_warnings():  # exchange_calendars 4.13 uses what pandas 3.1 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar("XNYS", start=f"{first}-01-01", end=f"{last}-12-31")
    days = _ns(calendar.sessions.as_unit("ns")) // NS_PER_DAY
    return Hours(days, _ns(calendar.opens.array), _ns(calendar.closes.array))


def _ns(values: Any) -> Int:
    return np.array(values.as_unit("ns").asi8, np.int64)
