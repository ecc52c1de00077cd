"""A run's folder, read back: its CSV files, its `run.json` if there is one, and what the original tool wrote.

Nothing is taken on trust: a file that cannot be read is one line that names it.
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from reports.arrow import as_arrow, as_numpy

Float = NDArray[np.float64]

METRICS, SUMMARY, CURVE = "performance/metrics.csv", "combined/summary.csv", "combined/equity_curve.csv"
# Columns that are text even where every cell looks like a number or a date. The rest are numbers.
TEXT = (
    "account", "convention", "date", "detail", "details", "entry_date", "exit_date",
    "exit_reason", "file", "flag", "interval", "kind", "metric", "month", "peak", "reason", "recovery",
    "remarks", "row", "sector", "side", "source", "status", "strategy", "symbol", "title", "trough", "type",
    "unit", "year", "",
)  # fmt: skip
_DEFUSED = tuple("'" + sign for sign in "=+-@\t\r")


class Table:
    """Columns of a CSV file by name: text, or numbers with NaN where a cell is empty. Converted when asked
    for: a file of signals holds 14 MB of measurements, of which a report needs a tenth."""

    def __init__(self, columns: Any | None = None) -> None:
        """`columns`: a pyarrow table, None for a file that is not there."""
        self.names: list[str] = [] if columns is None else list(dict.fromkeys(columns.column_names))
        self._columns = columns

    def __len__(self) -> int:
        return 0 if self._columns is None else int(self._columns.num_rows)

    def text(self, name: str, rows: NDArray[np.int64] | None = None) -> list[str]:
        """Return a column, or some of its rows, as text; blanks when the file does not have it."""
        import pyarrow as pa
        from pyarrow import compute as pc

        if name not in self.names:
            return [""] * (len(self) if rows is None else len(rows))
        cells = self._columns.column(name)  # type: ignore[union-attr]
        if rows is not None:
            cells = cells.take(as_arrow(rows))
        cells = cells.cast(pa.string())
        texts = [text or "" for text in cells.to_pylist()]
        if not pc.any(pc.starts_with(cells, "'")).as_py():
            return texts
        return [_plain(text) for text in texts]

    def is_numeric(self, name: str) -> bool:
        import pyarrow as pa

        if name not in self.names:
            return False
        kind = self._columns.column(name).type  # type: ignore[union-attr]
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))

    def numbers(self, name: str) -> Float:
        """Return a column as float64; NaN when the file does not have it, or it is text."""
        import pyarrow as pa

        if not self.is_numeric(name):
            return np.full(len(self), np.nan)
        return as_numpy(self._columns.column(name).cast(pa.float64()))  # type: ignore[union-attr]


class RunFolder:
    """The files of one run. `notes` says what was read otherwise than it was written."""

    def __init__(self, path: Path, manifest: dict[str, Any] | None = None) -> None:
        """Raise DataError when the folder is none, or holds nothing of a run. `manifest`: what its `run.json`
        will say, while it is not written yet."""
        self.path = path
        self._manifest = manifest
        self.notes: list[str] = []
        self._tables: dict[str, Table] = {}
        if not path.is_dir():
            raise DataError(f"{path}: no such folder" if not path.exists() else f"{path}: not a folder")
        if not any((path / name).is_file() for name in (METRICS, SUMMARY, CURVE)):
            raise DataError(f"{path}: holds no run: none of {METRICS}, {SUMMARY}, {CURVE}")

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def table(self, name: str) -> Table:
        """Return a CSV file of the folder; an empty table when it is not there."""
        if name not in self._tables:
            self._tables[name] = read_csv(self.path / name) if self.has(name) else Table()
        return self._tables[name]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What `run.json` says, {} without one."""
        if self._manifest is not None:
            return self._manifest
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}") from None
        if not isinstance(content, dict):
            raise DataError(f"{path}: must be a JSON object")
        return content

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the figures of every account, of all together and of the benchmark, by name; undefined
        ones are left out. Drawdowns are positive, also where they were written as negative numbers."""
        found: dict[str, dict[str, float]] = {}
        for name in (METRICS, SUMMARY):
            table = self.table(name)
            if not table.names:
                continue
            first, *others = table.names
            if set(table.text(first)) & {"final_equity", "total_return", "sharpe"}:
                # A pandas Series: one figure a line
                figures = dict(zip(table.text(first), table.numbers(others[0]).tolist(), strict=True))
                found.setdefault("combined", {}).update(
                    {key: value for key, value in figures.items() if math.isfinite(value)}
                )
                continue
            columns = {column: table.numbers(column).tolist() for column in others}
            for i, row in enumerate(table.text(first)):
                row = "combined" if row in ("", "0") else row  # A frame of one row without a name
                figures = {
                    column: values[i] for column, values in columns.items() if math.isfinite(values[i])
                }
                found.setdefault(row, {}).update(figures)
        for figures in found.values():
            if figures.get("max_drawdown", 0.0) < 0:
                figures["max_drawdown"] = -figures["max_drawdown"]
                self._note(f"{self.path.name}: drawdowns were written as negative numbers")
        return found

    @property
    def undefined(self) -> dict[str, dict[str, str]]:
        """Return why figures are undefined, by row and metric."""
        made = self.manifest.get("undefined", {})
        return made if isinstance(made, dict) else {}

    @cached_property
    def days(self) -> list[str]:
        """Return the dates of the equity curve."""
        table = self.table(CURVE)
        return [cell[:10] if cell[10:] in ("", " 00:00:00") else cell for cell in
                table.text(next(iter(table.names), "date"))]  # fmt: skip

    @property
    def accounts(self) -> list[str]:
        """Return the names of the accounts: the columns of the equity curve behind the totals."""
        known = ("date", "equity", "cash", "exposure", "")
        return [name for name in self.table(CURVE).names if name not in known]

    def _note(self, remark: str) -> None:
        if remark not in self.notes:
            self.notes.append(remark)


def read_csv(path: Path) -> Table:
    """Read a CSV file. Raises DataError, in one line, for one that is none."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        read = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(TEXT, pa.string())),
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None
    return Table(read)


def _plain(text: str) -> str:
    """Undo what keeps a spreadsheet from calculating."""
    return text[1:] if text.startswith(_DEFUSED) else text
