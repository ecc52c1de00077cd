"""A table from a CSV file of somebody else: columns found by what people call them.

Names go without case, spaces and punctuation; between cells there is a comma, semicolon or tab. What cannot
be read for certain is an error with file, line and column: half a portfolio cannot be judged. Brokers put
other lines above the one with the names.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.errors import DataError

BYTES_MAX = 64 * 1024 * 1024
MAGNITUDE_MAX = 1e12
HEADER_LINES = 10  # within which the names must stand
UNKNOWN = ("", "-", "--", "n/a", "na", "nan", "none", "null", "#n/a", "unknown")
# Commas only where thousands are: "1,5" is five tenths more than one to some people, and fifteen to nobody
_NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(,\d{3})+)?(\.\d*)?([eE][-+]?\d{1,3})?")


@dataclass(frozen=True)
class Line:
    """The cells of one line by kind of column; a column that the file lacks is an empty cell."""

    where: str  # file and line
    cells: Mapping[str, str]
    names: Mapping[str, str]  # of the columns, as the file has them

    def text(self, kind: str) -> str:
        return self.cells.get(kind, "")

    def is_unknown(self, kind: str) -> bool:
        """Whether the cell says nothing, or that nothing is known."""
        return self.text(kind).lower() in UNKNOWN

    def number(self, kind: str, of: str = "") -> float:
        """Return the number in a cell. Raises DataError when there is none."""
        return self._parsed(kind, self.text(kind), of)

    def fraction(self, kind: str, of: str = "") -> float:
        """Return the number in a cell, 0.05 for 5%. Raises DataError when there is none."""
        text = self.text(kind)
        value = self._parsed(kind, text.removesuffix("%").strip(), of)
        return value / 100 if text.endswith("%") else value

    def _parsed(self, kind: str, text: str, of: str) -> float:
        value = parse_number(text)
        if value is None:
            where = f"{self.where}: {of}: " if of else f"{self.where}: "
            raise DataError(f"{where}{self.names[kind]} must be a number, was {self.text(kind)!r}")
        return value


@dataclass(frozen=True)
class Table:
    path: Path
    names: Mapping[str, str]  # kind -> the column's name in the file
    lines: Sequence[Line]


def read_table(path: Path, kinds: Mapping[str, Sequence[str]], *, needed: Sequence[str]) -> Table:
    """Return the lines of a file. `kinds`: what a kind of column may be called, best name first.

    Raises DataError for a file that is missing, unreadable or empty, for a column of `needed` that it lacks,
    and for a line with more cells than there are columns.
    """
    rows = _rows(path)
    header, columns = _header(rows, kinds, path, needed)
    names = {kind: header[i] or kind for kind, i in columns.items()}
    lines = []
    for number, row in rows:
        where = f"{path}:{number}"
        if any(cell.strip() for cell in row[len(header) :]):
            raise DataError(
                f"{where}: has {len(row)} cells, the header {len(header)}; a comma in a number needs quotes"
            )
        cells = {kind: row[i].strip() if i < len(row) else "" for kind, i in columns.items()}
        lines.append(Line(where, cells, names))
    return Table(path, names, lines)


def parse_number(text: str) -> float | None:
    """Return a finite number of ordinary size, None for anything else. $ and (5) for -5 are understood."""
    plain = text.replace("$", "").strip()
    if plain.startswith("(") and plain.endswith(")"):
        plain = f"-{plain[1:-1]}"
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        value = float(plain.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= MAGNITUDE_MAX else None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each line that is not empty, at least one."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise DataError(f"{path}: is larger than {BYTES_MAX >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    first = text.lstrip().split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count), strict=True)
    is_empty = True
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                is_empty = False
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None
    if is_empty:
        raise DataError(f"{path}: is empty")


def _header(
    rows: Iterator[tuple[int, list[str]]],
    kinds: Mapping[str, Sequence[str]],
    path: Path,
    needed: Sequence[str],
) -> tuple[list[str], dict[str, int]]:
    """Return the line of names, the first of the top lines that has all that is needed, and its columns."""
    trouble = None
    for _, row in islice(rows, HEADER_LINES):
        header = [name.strip() for name in row]
        try:
            return header, _columns(header, kinds, path, needed)
        except DataError as error:
            trouble = trouble or error  # Of the first line: usually it is the one
    assert trouble is not None
    raise trouble


def _columns(
    header: Sequence[str], kinds: Mapping[str, Sequence[str]], path: Path, needed: Sequence[str]
) -> dict[str, int]:
    """Return where each kind of column is: of several candidates the one named first in `kinds`."""
    plain = [re.sub(r"[^a-z]", "", name.lower()) for name in header]
    found = {}
    for kind, known in kinds.items():
        name = next((name for name in known if name in plain), None)
        if name is None:
            continue
        if plain.count(name) > 1:
            raise DataError(f"{path}: has {plain.count(name)} columns named {header[plain.index(name)]}")
        found[kind] = plain.index(name)
    missing = [kind for kind in needed if kind not in found]
    if missing:
        raise DataError(
            f"{path}: no column for {' and '.join(missing)}"
            f" (known names: {'; '.join(', '.join(n for n in kinds[kind][:4] if n) for kind in missing)});"
            f" its columns are {', '.join(header)}"
        )
    return found
