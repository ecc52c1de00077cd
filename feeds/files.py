"""Which files a source consists of. Loads nothing heavy: a warm start gets by without reading any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import DataError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".txt")


def list_files(path: Path) -> list[tuple[str, Path]]:
    """Return label and path of the files of a source: the file itself, or every price file below a folder.

    Raises DataError where there is none.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if not path.is_dir():
        if path.suffix.lower() not in PARQUET + CSV:
            raise DataError(f"{path}: expected a .parquet or .csv file, or a folder of such files")
        return [(path.name, path)]
    found = [(p.relative_to(path).as_posix(), p) for p in sorted(_inside(path))]
    if not found:
        raise DataError(f"{path}: no .parquet or .csv file in this folder")
    return found


def _inside(folder: Path) -> Iterator[Path]:
    """Yield the price files below a folder. What cannot be listed is an error, not left out."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})")

    for parent, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            found = Path(parent, name)
            if found.suffix.lower() in PARQUET + CSV and not name.startswith("."):
                yield found


def symbol_of(path: Path) -> str:
    """Return the symbol that a file is named by: AAPL.csv, aapl.us.txt (Stooq)."""
    return path.stem.upper().removesuffix(".US")
