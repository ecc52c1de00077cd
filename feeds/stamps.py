"""The date column of a price file as int64 nanoseconds, whatever type the vendor chose.

Understood: Arrow dates and timestamps; ISO text with or without time and UTC offset; yyyymmdd as text or
number, with hhmmss in a second column (Stooq); epoch seconds, milli-, micro- or nanoseconds, likewise.

A value with a UTC offset is a moment (`zoned`). One without is New York wall-clock time; midnight there means
the session of that date. A cell that cannot be read is `BAD_TIME`, and so is one of a year that int64
nanoseconds do not reach (1678 to 2261).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.slab import NS_PER_DAY
from feeds.sessions import BAD_TIME

Int = NDArray[np.int64]

_OFFSET = re.compile(r"[:\d]\s?(Z|UTC|[+-]\d{2}:?\d{2})$")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([ T].+)?$|\d{8}$")
_EPOCH = re.compile(r"\d{9,19}$")
_EPOCH_UNITS = ((10**17, 1), (10**14, 10**3), (10**11, 10**6), (10**8, 10**9))
_FIRST_S, _LAST_S = (
    int(np.datetime64(day, "s").astype(np.int64)) for day in ("1678-01-01", "2261-12-31")
)  # Beyond, int64 nanoseconds wrap around to another year without a word


class Stamps(NamedTuple):
    """ns: int64[n], UTC where `zoned`, else New York wall clock; `BAD_TIME` where unreadable."""

    ns: Int
    zoned: bool


def read_stamps(column: Any, time: Any | None, zoned: bool | None) -> Stamps:
    """Return the moments of an Arrow column of dates.

    time: column of times of day as hhmmss, or None.
    zoned: what earlier cells of this file were, None for the first. Text that differs is unreadable.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        zone = getattr(kind, "tz", None)
        seconds = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
        known = pc.and_(pc.greater_equal(seconds, _FIRST_S), pc.less_equal(seconds, _LAST_S))
        moments = pc.if_else(known, column, None).cast(pa.timestamp("ns", zone))
        ns = moments.cast(pa.int64()).fill_null(BAD_TIME).to_numpy(zero_copy_only=False)
        return Stamps(np.array(ns, np.int64), zone is not None)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.cast(pa.float64(), safe=False).fill_null(np.nan)
        return _add_times(_from_numbers(np.asarray(numbers)), time)
    stamps = _from_text(column.cast(pa.string()), zoned)
    return stamps if stamps.zoned else _add_times(stamps, time)


def _from_numbers(values: NDArray[np.float64]) -> Stamps:
    """yyyymmdd, or a moment as an epoch; the first readable value decides for the column."""
    ns = np.full(len(values), BAD_TIME)
    known = np.flatnonzero(np.abs(values) <= _LAST_S * 10**9)
    numbers = values[known].astype(np.int64)
    if len(numbers) and numbers[0] >= 10**8:
        unit = next(unit for least, unit in _EPOCH_UNITS if numbers[0] >= least)
        reached = np.abs(numbers) <= _LAST_S * 10**9 // unit
        ns[known[reached]] = numbers[reached] * unit
        return Stamps(ns, True)
    unique, inverse = np.unique(numbers, return_inverse=True)
    ns[known] = _parse([str(number) for number in unique])[inverse]
    return Stamps(ns, False)


def _from_text(column: Any, zoned: bool | None) -> Stamps:
    encoded = column.dictionary_encode()
    texts = [(text or "").strip() for text in encoded.dictionary.to_pylist()]
    code = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if zoned is not False and _EPOCH.match(next(filter(None, texts), "")):
        epochs = np.array([float(text) if _EPOCH.match(text) else np.nan for text in texts])
        return Stamps(np.append(_from_numbers(epochs).ns, BAD_TIME)[code], True)
    offsets = np.array([_OFFSET.search(text[10:]) is not None for text in texts] or [False])
    if zoned is None:
        first = next((i for i, text in enumerate(texts) if _ISO.match(text)), 0)
        zoned = bool(offsets[first])
    parsed = np.append(_parse(texts), BAD_TIME)
    parsed[:-1][offsets[: len(texts)] != zoned] = BAD_TIME
    return Stamps(parsed[code], zoned)


def _parse(texts: list[str]) -> Int:
    """Return ns of ISO and yyyymmdd texts, read as UTC where they have no offset."""
    import pandas as pd

    clean = [text if _ISO.match(text) else None for text in texts]
    moments = pd.to_datetime(pd.Series(clean, dtype="str"), format="ISO8601", errors="coerce", utc=True)
    index = pd.DatetimeIndex(moments)
    first, last = (pd.Timestamp(seconds, unit="s", tz="UTC") for seconds in (_FIRST_S, _LAST_S))
    index = index.where((index >= first) & (index <= last))
    return np.array(index.as_unit("ns").asi8, np.int64)


def _add_times(stamps: Stamps, time: Any | None) -> Stamps:
    """Add times of day given as hhmmss; 0 and empty mean none."""
    if time is None:
        return stamps
    texts = pc.replace_substring(time.cast(pa.string()), ":", "")
    clock = pc.if_else(pc.match_substring_regex(texts, r"^\d{1,6}$"), texts, None).cast(pa.int64())
    hhmmss = np.asarray(clock.fill_null(0))
    seconds = hhmmss // 10_000 * 3600 + hhmmss // 100 % 100 * 60 + hhmmss % 100
    known = stamps.ns != BAD_TIME
    return Stamps(np.where(known, stamps.ns + seconds * 1_000_000_000, BAD_TIME), stamps.zoned)


def midnights(ns: Int) -> bool:
    """Whether every readable stamp is a date without a time."""
    return bool((ns[ns != BAD_TIME] % NS_PER_DAY == 0).all())
