"""What is wrong with rows of a source, and the record of every row that was set aside.

Invariants (the property tests use the same numbers):
1. A bar is valid iff all five numbers are finite, prices > 0, high >= max(open, close) and
   low <= min(open, close) within a relative 1e-6, and volume >= 0. Volume 0 is valid.
2. Every row of a source is either one bar of the panel or one row of the quarantine, never both or neither.
   (A row may besides have its adjustment set aside: reasons in `ADJUSTMENTS`.)
3. The first valid row of a session is its bar; whatever comes later for that session is set aside.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError

Float = NDArray[np.float64]
Table = Mapping[str, list[Any]]  # the columns `COLUMNS`, of equal length

COLUMNS = ("file", "row", "symbol", "date", "reason", "detail")
SHARES_MAX = 1e11  # of a bar: the whole of a large exchange trades a tenth of it in a day
_TOLERANCE = 1e-6
_FLUSH_ROWS = 50_000


class Reason(StrEnum):
    """Why a row, or the adjustment in it, was set aside."""

    WRONG_FIELD_COUNT = "wrong_field_count"
    NO_SYMBOL = "no_symbol"
    BAD_DATE = "bad_date"
    NON_FINITE = "non_finite"
    PRICE_NOT_POSITIVE = "price_not_positive"
    HIGH_TOO_LOW = "high_too_low"
    LOW_TOO_HIGH = "low_too_high"
    NEGATIVE_VOLUME = "negative_volume"
    ABSURD_VOLUME = "absurd_volume"
    PRICE_SPIKE = "price_spike"  # 21 times, or a 21st of, the bars before and after it
    FUTURE_DATE = "future_date"
    DUPLICATE_DATE = "duplicate_date"  # the same timestamp again
    DUPLICATE_SESSION = "duplicate_session"  # another snapshot of a session that has its bar
    BAD_ADJ_CLOSE = "bad_adj_close"
    BAD_DIVIDEND = "bad_dividend"
    BAD_SPLIT = "bad_split"


ADJUSTMENTS = frozenset({Reason.BAD_ADJ_CLOSE, Reason.BAD_DIVIDEND, Reason.BAD_SPLIT})
_CHECKS = (
    Reason.NON_FINITE, Reason.PRICE_NOT_POSITIVE, Reason.HIGH_TOO_LOW, Reason.LOW_TOO_HIGH,
    Reason.NEGATIVE_VOLUME, Reason.ABSURD_VOLUME,
)  # fmt: skip


class Prices(NamedTuple):
    """Five float64[n] of a chunk."""

    open: Float
    high: Float
    low: Float
    close: Float
    volume: Float


def valid_bars(prices: Prices) -> NDArray[np.bool_]:
    """Return which rows are valid bars (invariant 1)."""
    o, h, low, c, v = prices
    with np.errstate(invalid="ignore", over="ignore"):  # NaN compares False
        valid: NDArray[np.bool_] = (
            (low > 0) & (o > 0) & (c > 0) & (h < np.inf) & (v < np.inf) & (v >= 0)
            & (h >= np.maximum(o, c) * (1 - _TOLERANCE)) & (low <= np.minimum(o, c) * (1 + _TOLERANCE))
        )  # fmt: skip
    return valid


def fault(bar: Sequence[float]) -> tuple[Reason, str]:
    """Return the first condition that a bar (open, high, low, close, volume) fails, and its numbers.

    A valid bar may still be one that no share ever traded.
    """
    o, h, low, c, v = bar
    names = ("open", "high", "low", "close", "volume")
    not_finite = [name for name, x in zip(names, bar, strict=True) if not np.isfinite(x)]
    if not_finite:
        shown = [f"{name} {x:g}" for name, x in zip(names, bar, strict=True) if name in not_finite]
        return Reason.NON_FINITE, ", ".join(shown)
    if min(o, h, low, c) <= 0:
        return Reason.PRICE_NOT_POSITIVE, f"open {o:g}, high {h:g}, low {low:g}, close {c:g}"
    if h < max(o, c) * (1 - _TOLERANCE):
        return Reason.HIGH_TOO_LOW, f"high {h:.10g} < {_name_of(max(o, c), o)} {max(o, c):.10g}"
    if low > min(o, c) * (1 + _TOLERANCE):
        return Reason.LOW_TOO_HIGH, f"low {low:.10g} > {_name_of(min(o, c), o)} {min(o, c):.10g}"
    return (Reason.NEGATIVE_VOLUME if v < 0 else Reason.ABSURD_VOLUME), f"volume {v:g}"


def _name_of(value: float, open_: float) -> str:
    return "open" if value == open_ else "close"


@dataclass
class Quarantine:
    """Writer of set-aside rows. Goes to a CSV file in pieces, so that it needs no memory to speak of; not to
    Parquet, because a warm start would then have to load pyarrow for a handful of rows."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    first: str = ""
    _rows: list[tuple[str, int, str, str, str, str]] = field(default_factory=list)

    def add(self, file: str, row: int, symbol: str, date: str, reason: Reason, detail: str) -> None:
        if not self.counts:
            self.first = describe(file, row, symbol, date, reason, detail)
        self.counts[reason.value] += 1
        self._rows.append((file, row, symbol, date, reason.value, detail))
        if len(self._rows) >= _FLUSH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left. The file exists afterwards, also when nothing was set aside."""
        self._flush()

    def _flush(self) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(self._rows)
        self._rows.clear()


def describe(file: str, row: int, symbol: str, date: str, reason: str, detail: str) -> str:
    """Return one set-aside row as a line for people."""
    return f"{file}:{row}: {symbol or '?'} {date}: {detail} ({reason})"


@dataclass(frozen=True)
class Quality:
    """The rows of a source that were set aside, for the symbols and days in use, and remarks on the whole.

    `counts` is by reason.
    """

    table: Table
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(self.table["reason"]).items()))

    @property
    def n_rows(self) -> int:
        return len(self.table["row"])

    def frame(self) -> Any:
        """Return the table as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(dict(self.table), columns=list(COLUMNS))

    def require_clean(self) -> None:
        """Raise DataError naming the first row that was set aside, if there is one."""
        if self.n_rows:
            first = describe(*(self.table[name][0] for name in COLUMNS))
            more = f" and {self.n_rows - 1:,} more rows" if self.n_rows > 1 else ""
            raise DataError(f"{first}{more}; correct the source or run without --strict")


def rows_and_adjustments(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the counts by reason of rows set aside, and of adjustments set aside whose bars are used."""
    return (
        {reason: n for reason, n in counts.items() if reason not in ADJUSTMENTS},
        {reason: n for reason, n in counts.items() if reason in ADJUSTMENTS},
    )


NO_ROWS: Table = {name: [] for name in COLUMNS}


def read_rows(path: Path, symbols: frozenset[str] | None, first: str, last: str) -> Table:
    """Return the quarantine written to `path`, for `symbols` (None: all) and ISO dates first..last.

    Rows without a symbol or without a readable date are always part of it.
    """
    table: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            _, number, symbol, date, reason, _ = row
            if symbols is not None and symbol and symbol not in symbols:
                continue
            if reason == Reason.BAD_DATE or not date or first <= date[:10] <= last:
                for name, cell in zip(COLUMNS, row, strict=True):
                    table[name].append(int(number) if name == "row" else cell)
    return table


def join_rows(tables: Sequence[Table]) -> Table:
    """Return several tables as one."""
    return {name: [x for table in tables for x in table[name]] for name in COLUMNS}
