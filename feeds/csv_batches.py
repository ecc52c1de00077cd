"""CSV as a stream of Arrow batches with the line number of each row.

Numbers are parsed by Arrow; where a cell is no number the rest of the file is read as text, so that one bad
cell costs its row and not the file. Lines with a wrong number of fields are set aside.
"""

from __future__ import annotations

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
    return [name.strip('" ') for name in header.strip("\r\n").split(",")]


def csv_batches(
    path: Path, label: str, names: list[str], numbers: list[str], broken: list[tuple[int, str]]
) -> Iterator[tuple[Int, Any]]:
    """Yield (line numbers, batch) with the columns `names`, those in `numbers` as float64 or text.

    Lines with a wrong number of fields are appended to `broken` as (line, what is wrong).
    """
    done = 0
    for kind in (pa.float64(), pa.string()):
        broken.clear()
        rows = 0
        line = 2
        try:
            for batch in _open(path, names, dict.fromkeys(numbers, kind), broken):
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


def _open(path: Path, names: list[str], numbers: dict[str, Any], broken: list[tuple[int, str]]) -> Any:
    def set_aside(row: Any) -> str:
        if row.text.strip():
            broken.append((row.number, f"expected {row.expected_columns} fields, was {row.actual_columns}"))
        else:
            broken.append((row.number, ""))
        return "skip"

    header = csv_names(path, path.name)
    types = {name: numbers.get(name, pa.string()) for name in names}
    return pacsv.open_csv(
        path,
        # One thread: only then does Arrow know the number of a line that it sets aside.
        read_options=pacsv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=header, skip_rows=1
        ),
        parse_options=pacsv.ParseOptions(invalid_row_handler=set_aside, ignore_empty_lines=False),
        # Texts stay as they are: NA is a symbol
        convert_options=pacsv.ConvertOptions(column_types=types, include_columns=names, null_values=_NULLS),
    )


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
