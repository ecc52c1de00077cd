"""The first difference between two runs of a strategy: at which bar, in which field, by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.events import SIGNAL_DTYPE

Rows = NDArray[np.void]

PRESENCE = "signal"  # the field of a difference that is a signal on one side only
FLOAT_FIELDS = tuple(
    name for name in SIGNAL_DTYPE.names or () if SIGNAL_DTYPE[name].base == np.float64 and name != "details"
)
_KEY = ("ts", "symbol", "side")
_IGNORED = "strategy"  # the number the loop gave it


@dataclass(frozen=True)
class Difference:
    """`one` and `other`: the values, None where that side has no signal."""

    ts: int
    symbol: int
    field: str
    one: float | None
    other: float | None


def joined(parts: Sequence[Rows]) -> Rows:
    """Return batches of signals as one. NumPy's own way looks at each field of each batch anew."""
    if len(parts) == 1:
        return parts[0]
    return np.frombuffer(b"".join(part.tobytes() for part in parts), SIGNAL_DTYPE)


def until(rows: Rows, ts: int) -> Rows:
    """Return the signals up to and including `ts`."""
    return rows[: int(np.searchsorted(rows["ts"], ts, side="right"))]


def between(rows: Rows, first: int, last: int) -> Rows:
    """Return the signals from `first` to `last`, both included."""
    low = np.searchsorted(rows["ts"], first, side="left")
    return rows[int(low) : int(np.searchsorted(rows["ts"], last, side="right"))]


def first_difference(one: Rows, other: Rows, measurements: Sequence[str]) -> Difference | None:
    """Return the first signal that is not the same to the last bit in both; None if all are."""
    if one.tobytes() == other.tobytes():
        return None
    one, other = _in_order(one), _in_order(other)
    n = min(len(one), len(other))
    differs = np.flatnonzero(_bytes(one[:n]) != _bytes(other[:n]))
    for i in differs.tolist():
        a, b = one[i], other[i]
        if _key(a) != _key(b):
            return _present_once(a, None) if _key(a) < _key(b) else _present_once(None, b)
        for name, x, y in _fields(a, b, measurements):
            if x != y and not (np.isnan(x) and np.isnan(y)):
                return Difference(int(a["ts"]), int(a["symbol"]), name, x, y)
    return _first_missing(one, other) if len(one) != len(other) else None


def worst_difference(one: Rows, other: Rows, measurements: Sequence[str]) -> tuple[float, Difference | None]:
    """Return the largest difference of a number, relative to the larger of the two values or 1, and where it
    first is as large as that; infinite if a signal is in one only, and then the first such."""
    one, other = _in_order(one), _in_order(other)
    if len(one) != len(other) or not all(np.array_equal(one[name], other[name]) for name in _KEY):
        return np.inf, _first_missing(one, other)
    if len(one) == 0:
        return 0.0, None
    x, y = _numbers(one), _numbers(other)
    with np.errstate(invalid="ignore"):
        gap = np.abs(x - y) / np.maximum(1.0, np.maximum(np.abs(x), np.abs(y)))
    gap[x == y] = 0.0  # Infinities too
    gap[np.isnan(x) & np.isnan(y)] = 0.0
    gap[np.isnan(gap)] = np.inf
    worst = float(gap.max())
    if worst == 0.0:
        return 0.0, None
    i, k = (int(index) for index in np.argwhere(gap == worst)[0])
    names = (*FLOAT_FIELDS, *_detail_names(measurements))
    row = one[i]
    return worst, Difference(int(row["ts"]), int(row["symbol"]), names[k], float(x[i, k]), float(y[i, k]))


def _first_missing(one: Rows, other: Rows) -> Difference:
    """Return the first signal, of signals in order, that is not in both."""
    n = min(len(one), len(other))
    same = np.logical_and.reduce([one[name][:n] == other[name][:n] for name in _KEY])
    i = n if same.all() else int(np.argmin(same))
    if i < n:
        return _present_once(one[i], None) if _key(one[i]) < _key(other[i]) else _present_once(None, other[i])
    return _present_once(one[i], None) if len(one) > n else _present_once(None, other[i])


def _numbers(rows: Rows) -> NDArray[np.float64]:
    return np.column_stack([*(rows[name] for name in FLOAT_FIELDS), rows["details"]])


def _in_order(rows: Rows) -> Rows:
    rows = rows[np.lexsort((rows["side"], rows["symbol"], rows["ts"]))]
    rows[_IGNORED] = 0
    return rows


def _bytes(rows: Rows) -> NDArray[np.void]:
    return np.frombuffer(rows.tobytes(), f"V{rows.dtype.itemsize}")


def _key(row: Any) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in _KEY)


def _present_once(one: Any, other: Any) -> Difference:
    row = other if one is None else one
    price = float(row["price_ref"])
    return Difference(
        int(row["ts"]), int(row["symbol"]), PRESENCE,
        None if one is None else price, None if other is None else price,
    )  # fmt: skip


def _fields(a: Any, b: Any, measurements: Sequence[str]) -> list[tuple[str, float, float]]:
    found = [
        (name, float(a[name]), float(b[name]))
        for name in SIGNAL_DTYPE.names or ()
        if name not in (*_KEY, _IGNORED, "details")
    ]
    names = _detail_names(measurements)
    return found + [(names[k], float(a["details"][k]), float(b["details"][k])) for k in range(len(names))]


def _detail_names(measurements: Sequence[str]) -> list[str]:
    n = SIGNAL_DTYPE["details"].shape[0]
    return [*measurements[:n], *(f"details[{k}]" for k in range(len(measurements), n))]
