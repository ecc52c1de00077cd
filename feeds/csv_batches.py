"""CSV as a stream of Arrow batches with the line number of each row.

Numbers are parsed by Arrow; where a cell is no number the rest of the file is read as text, so that one bad
cell costs its row and not the file. Lines with a wrong number of fields are set aside, and so are those in
which a quote stays open: no cell of a price file goes over several lines, and Arrow would take all lines up
to the next quote for one cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from engine.errors import DataError

Int = NDArray[np.int64]

_BLOCK_BYTES = 8 << 20
_OPEN_QUOTE = "a quote is opened and not closed"
_NULLS = ["", "null", "NULL", "None", "NaN", "nan", "N/A", "NA", "-"]


def csv_names(path: Path, label: str) -> list[str]:
    """Return the column names of the header. Raises DataError where the file has no header to read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = lines.readline()
    except OSError as error:
        raise DataError(f"{label}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{label}: not UTF-8 text; save it as CSV in UTF-8") from None
    if not header.strip():
        raise DataError(f"{label}: the file is empty or has no header; export it again")
    return [name.strip('" ') for name in next(csv.reader([header.strip("\r\n")], skipinitialspace=True))]


def csv_batches(
    path: Path, label: str, names: list[str], numbers: list[str], broken: list[tuple[int, str]]
) -> Iterator[tuple[Int, Any]]:
    """Yield (line numbers, batch) with the columns `names`, those in `numbers` as float64 or text.

    Lines with a wrong number of fields are appended to `broken` as (line, what is wrong).
    """
    if not _has_rows(path):
        return
    quotes_stay_open = _quotes_stay_open(path)
    done = 0
    for kind in (pa.float64(), pa.string()):
        broken.clear()
        rows = 0
        line = 2
        try:
            source = io.BufferedReader(_ClosedQuotes(path)) if quotes_stay_open else path
            for batch in _open(source, path, names, dict.fromkeys(numbers, kind), broken):
                if kind == pa.string():
                    batch = _without_null_words(batch, numbers)
                lines, line = _line_numbers(line, batch.num_rows, broken)
                rows += batch.num_rows
                if rows <= done:
                    continue
                skip = max(0, done - (rows - batch.num_rows))
                done = rows
                filled = _not_blank(batch, names)
                yield lines[skip:][filled[skip:]], batch.slice(skip).filter(pa.array(filled[skip:]))
            return
        except (pa.ArrowInvalid, OSError) as error:
            text = str(error).splitlines()[0]
            if "conversion error" not in text or kind == pa.string():
                raise DataError(f"{label}: not readable as CSV in UTF-8 ({text}); export it again") from None


def _open(
    source: Any, path: Path, names: list[str], numbers: dict[str, Any], broken: list[tuple[int, str]]
) -> Any:
    def set_aside(row: Any) -> str:
        if row.text == _OPEN_QUOTE:
            broken.append((row.number, _OPEN_QUOTE))
        elif row.text.strip():
            broken.append((row.number, f"expected {row.expected_columns} fields, was {row.actual_columns}"))
        else:
            broken.append((row.number, ""))
        return "skip"

    header = csv_names(path, path.name)
    types = {name: numbers.get(name, pa.string()) for name in names}
    return pacsv.open_csv(
        source,
        # One thread: only then does Arrow know the number of a line that it sets aside.
        read_options=pacsv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=header, skip_rows=1
        ),
        parse_options=pacsv.ParseOptions(invalid_row_handler=set_aside, ignore_empty_lines=False),
        # Texts stay as they are: NA is a symbol
        convert_options=pacsv.ConvertOptions(column_types=types, include_columns=names, null_values=_NULLS),
    )


class _ClosedQuotes(io.RawIOBase):
    """A CSV file as bytes; each line below the header in which a quote stays open is one field instead."""

    def __init__(self, path: Path) -> None:
        self._lines = path.open("rb")
        self._rest = self._lines.readline()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            line = self._lines.readline()
            self._rest = _OPEN_QUOTE.encode() + b"\n" if line.count(b'"') % 2 else line
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n

    def close(self) -> None:
        self._lines.close()
        super().close()


def _quotes_stay_open(path: Path) -> bool:
    """Whether a quote is opened and not closed on any line of a file."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            block += file.readline()
            if b'"' in block and any(line.count(b'"') % 2 for line in block.split(b"\n")):
                return True
    return False


def _has_rows(path: Path) -> bool:
    """Whether anything follows the header; Arrow takes a header without a line's end for an error."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        lines.readline()
        return bool(lines.read(1))


def _line_numbers(first: int, n: int, broken: list[tuple[int, str]]) -> tuple[Int, int]:
    """Return the line numbers of the next `n` rows, those of lines set aside left out, and the next one."""
    aside = np.array([line for line, _ in broken if line >= first], np.int64)
    lines = np.arange(first, first + n + len(aside))
    lines = lines[~np.isin(lines, aside)][:n]
    return lines, int(lines[-1]) + 1 if n else first


def _without_null_words(batch: Any, names: list[str]) -> Any:
    """Return the batch with null for what Arrow takes as none where it parses numbers."""
    for name in names:
        column = batch.column(name)
        known = pc.if_else(pc.is_in(column, pa.array(_NULLS)), None, column)
        batch = batch.set_column(batch.schema.get_field_index(name), name, known)
    return batch


def _not_blank(batch: Any, names: list[str]) -> NDArray[np.bool_]:
    """Whether each row holds anything: an empty line arrives as a row of nulls and empty texts."""
    blank = np.ones(batch.num_rows, np.bool_)
    for name in names:
        column = batch.column(name)
        if pa.types.is_string(column.type):
            column = pc.if_else(pc.equal(column, ""), None, column)
        blank &= np.asarray(column.is_null())
    return ~blank
