"""Price files as a stream of column chunks: Parquet and CSV, one long file or a folder of one per symbol.

A chunk holds at most some 130,000 rows, so a file of any size is read in flat memory. Reading never drops a
row: what cannot be read becomes NaN, `BAD_TIME` or code -1, and `feeds.quality` says so; lines with a wrong
number of fields are collected in `BarFile.broken`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.errors import DataError
from feeds.columns import NUMBERS, Layout, find_layout
from feeds.csv_batches import csv_batches, csv_names
from feeds.files import PARQUET, symbol_of
from feeds.stamps import read_stamps

Int = NDArray[np.int64]

CHUNK_ROWS = 1 << 17
_READ_BYTES = 1 << 20
_SHOWN_MAX = 40


class Chunk(NamedTuple):
    """Consecutive rows of a file. `code` indexes `names`; -1 where the row names no symbol."""

    row: Int  # int64[n], number in the file as an editor shows it (CSV) or of the record (Parquet), from 1
    names: list[str]
    code: Int
    stamp: Int  # int64[n] ns, see feeds.stamps
    zoned: bool
    text: Callable[[str, int], str]  # the cell of a meaning and a row of this chunk, "" for none, for reports
    numbers: dict[str, NDArray[np.float64]]  # by meaning, float64[n]

    def shown(self, meaning: str, i: int) -> str:
        """Return a number for a report; where the cell holds none, the cell in quotation marks."""
        text = self.text(meaning, i).strip()
        try:
            float(text or "nan")
        except ValueError:
            return repr(text[:_SHOWN_MAX])
        return f"{self.numbers[meaning][i]:g}"


@dataclass
class BarFile:
    """One file of a source. `label` names it in reports; `symbol` is set where its name is the symbol."""

    path: Path
    label: str
    symbol: str | None = None
    layout: Layout = field(init=False)
    broken: list[tuple[int, str]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        names = _parquet_names(self) if self.is_parquet else csv_names(self.path, self.label)
        self.layout = find_layout(names, self.label, needs_symbol=self.symbol is None)

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() in PARQUET

    def chunks(self, *, prices: bool) -> Iterator[Chunk]:
        """Yield the file in chunks; without `prices` only symbols and dates are read."""
        self.broken.clear()
        wanted = ("symbol", "date", "time", *(NUMBERS if prices else ()))
        columns = {name: self.layout.columns[name] for name in wanted if self.layout.has(name)}
        batches = _parquet_batches(self, columns) if self.is_parquet else self._csv(columns)
        zoned: bool | None = None
        for row, batch in batches:
            chunk = self._chunk(row, batch, columns, zoned)
            zoned = chunk.zoned
            yield chunk

    def _csv(self, columns: dict[str, str]) -> Iterator[tuple[Int, Any]]:
        numbers = [columns[name] for name in NUMBERS if name in columns]
        names = list(columns.values())
        return csv_batches(self.path, self.label, names, numbers, self.broken)

    def _chunk(self, row: Int, batch: Any, columns: dict[str, str], zoned: bool | None) -> Chunk:
        cells = {meaning: batch.column(name) for meaning, name in columns.items()}
        try:
            names, code = self._symbols(cells.get("symbol"), batch.num_rows)
            stamps = read_stamps(cells["date"], cells.get("time"), zoned)
            numbers = {
                name: _events(cells[name]) if name in ("dividend", "split") else to_floats(cells[name])
                for name in NUMBERS
                if name in cells
            }
        except pa.ArrowNotImplementedError:  # structs, lists, bytes
            kinds = ", ".join(f"{columns[meaning]} {cell.type}" for meaning, cell in cells.items())
            raise DataError(f"{self.label}: a column is neither text, number nor date ({kinds})") from None

        def text(meaning: str, i: int) -> str:
            cell = cells[meaning][i]
            return str(cell) if cell.is_valid else ""

        return Chunk(row, names, code, stamps.ns, stamps.zoned, text, numbers)

    def _symbols(self, column: Any | None, n: int) -> tuple[list[str], Int]:
        if column is None:
            return [self.symbol or ""], np.zeros(n, np.int64)
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        market = ".US" if self.layout.columns["symbol"].startswith("<") else ""  # Stooq, see `symbol_of`
        texts = column.dictionary.cast(pa.string()).to_pylist()
        names = [(text or "").strip().upper().removesuffix(market) for text in texts]
        code = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        nameless = np.array([not name for name in names] + [True])
        return names, np.where(nameless[code], -1, code)


def open_bar_files(path: Path, labelled: Sequence[tuple[str, Path]]) -> list[BarFile]:
    """Return the files of a source, all of one basis. One that is not `path` itself is named by its symbol.

    Raises DataError where one cannot be read or two differ in the basis of their prices.
    """
    files = []
    for label, file_path in labelled:
        try:
            file = BarFile(file_path, label, None if file_path == path else symbol_of(file_path))
        except DataError as error:
            raise DataError(str(error) if file_path == path else f"{path}/{error}") from None
        if file.layout.has("symbol"):
            file.symbol = None
        files.append(file)
    return same_basis(files)


def same_basis(files: list[BarFile]) -> list[BarFile]:
    """Return the files, all of one basis. Raises DataError naming two that differ."""
    basis = files[0].layout.basis
    for file in files:
        if file.layout.basis is not basis:
            raise DataError(
                f"{file.label}: prices are of basis {file.layout.basis}, those of {files[0].label} of basis "
                f"{basis}; import them from separate folders"
            )
    return files


def to_floats(column: Any) -> NDArray[np.float64]:
    """Return an Arrow column as float64, NaN where a cell is empty or no number."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        import pandas as pd

        texts = pd.Series(column.cast(pa.string()).to_pylist(), dtype="str")
        return np.array(pd.to_numeric(texts.str.strip(), errors="coerce"), np.float64)
    floats = column.cast(pa.float64(), safe=False).fill_null(np.nan)
    return np.array(floats.to_numpy(zero_copy_only=False), np.float64)


def _events(column: Any) -> NDArray[np.float64]:
    """Dividends or split ratios: 0 where a cell is empty, infinity where it is no number ("2:1" is 2)."""
    kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return np.nan_to_num(to_floats(column), nan=0.0)
    texts = pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))
    values = to_floats(texts)
    for i in np.flatnonzero(np.isnan(values)):
        new, _, old = str(texts[int(i)]).replace("/", ":").partition(":")
        try:
            values[i] = float(new) / float(old) if old else (np.inf if new else 0.0)
        except (ValueError, ZeroDivisionError):
            values[i] = np.inf
    return values


def _parquet_names(file: BarFile) -> list[str]:
    with _parquet(file) as opened:
        return list(opened.schema_arrow.names)


def _parquet_batches(file: BarFile, columns: dict[str, str]) -> Iterator[tuple[Int, Any]]:
    symbol = columns.get("symbol")
    row = 1
    with _parquet(file, [symbol] if symbol else []) as opened:
        batches = opened.iter_batches(CHUNK_ROWS, columns=list(columns.values()))
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (pa.ArrowInvalid, OSError) as error:
                raise _unreadable(file, error) from None
            yield np.arange(row, row + batch.num_rows), batch
            row += batch.num_rows


def _parquet(file: BarFile, dictionaries: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq

    try:
        # Unbuffered ahead: pre_buffer would keep every row group read so far.
        return pq.ParquetFile(
            file.path, read_dictionary=dictionaries, pre_buffer=False, buffer_size=_READ_BYTES
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: BarFile, error: Exception) -> DataError:
    text = str(error).splitlines()[0]
    return DataError(f"{file.label}: not a readable Parquet file ({text}); export it again")
