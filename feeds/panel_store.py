"""The panel on disk: time-major arrays of one source in one basis, in a folder named by fingerprint.

    <store>/<fingerprint>/
        meta.json                                   symbols, counts, sizes, checksums
        open.npy high.npy low.npy close.npy volume.npy   float64[T, N], NaN where there is no bar
        ts.npy day.npy row_bars.npy                 int64[T]: UTC ns, session day, bars in the row
        actions.npy                                 ACTION_DTYPE[M], rows counted from the first
        quality.csv                             rows that were set aside

Invariants:
1. A folder without a leading dot is complete: it was written under a temporary name, synced and renamed.
2. `open_panel` returns a panel whose files have the sizes, and whose small files have the checksums, that
   meta.json states; anything else is `Damaged`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.slab import Float, Int

VERSION = 1
FIELDS = ("open", "high", "low", "close", "volume")
_SMALL = ("ts.npy", "day.npy", "row_bars.npy", "actions.npy", "quality.csv")


class Damaged(Exception):
    """A stored panel is incomplete or altered."""


@dataclass(frozen=True)
class Meta:
    """What meta.json holds. `first_row`, `last_row` are -1 for a symbol without a bar."""

    source: str
    adjustment: str
    intraday: bool
    symbols: list[str]
    symbol_bars: list[int]
    first_row: list[int]
    last_row: list[int]
    n_rows: int
    notes: list[str]
    counts: dict[str, int]
    version: int = VERSION


class Panel:
    """A stored panel, open for reading. Reads copy into fresh arrays; nothing stays mapped."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta
        self.ts: Int = np.load(folder / "ts.npy")
        self.day: Int = np.load(folder / "day.npy")
        self.row_bars: Int = np.load(folder / "row_bars.npy")
        self.actions: NDArray[np.void] = np.load(folder / "actions.npy")
        self._data_at = {name: _data_offset(folder / f"{name}.npy") for name in FIELDS}

    @property
    def n_symbols(self) -> int:
        return len(self.meta.symbols)

    def read(self, field: str, start: int, stop: int) -> Float:
        """Return rows [start, stop) of a field, float64[stop - start, N] of its own memory.

        Reading instead of mapping keeps resident memory flat however large the panel is.
        """
        rows = np.empty((stop - start, self.n_symbols))
        with (self.folder / f"{field}.npy").open("rb") as file:
            file.seek(self._data_at[field] + start * self.n_symbols * 8)
            n_read = file.readinto(rows.reshape(-1).view(np.uint8).data)
        if n_read != rows.nbytes:
            raise DataError(f"{self.folder}: {field}.npy was cut short while in use; run again to rebuild it")
        return rows


def open_panel(folder: Path) -> Panel | None:
    """Return the panel in `folder`, None where there is none. Raises Damaged."""
    if not folder.is_dir():
        return None
    try:
        written = json.loads((folder / "meta.json").read_bytes())
        body = written["meta"]
        if written["sha256"] != _digest(json.dumps([body, written["files"]], sort_keys=True).encode()):
            raise Damaged("meta.json does not match its checksum")
        for name, (size, digest) in written["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                raise Damaged(f"{name} has {found:,} bytes, expected {size:,}")
            if digest and digest != _digest((folder / name).read_bytes()):
                raise Damaged(f"{name} does not match its checksum")
        return Panel(folder, Meta(**body))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def write_meta(folder: Path, meta: Meta) -> None:
    """Write meta.json over the files that `folder` holds by now."""
    body = asdict(meta)
    files = {}
    for path in sorted(folder.iterdir()):
        digest = _digest(path.read_bytes()) if path.name in _SMALL else ""
        files[path.name] = [path.stat().st_size, digest]
    checksum = _digest(json.dumps([body, files], sort_keys=True).encode())
    (folder / "meta.json").write_text(json.dumps({"meta": body, "files": files, "sha256": checksum}))


@contextmanager
def new_panel(folder: Path) -> Iterator[Path]:
    """Give a scratch folder; when the block ends well it becomes `folder`, unless a whole panel is there.

    Raises DataError where the store cannot be written.
    """
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        for path in scratch.iterdir():
            _sync(path)
        _sync(scratch)
        if _is_whole(folder):
            return  # another process was faster; its readers may be at it already
        if folder.exists():
            aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        scratch.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: cannot store the imported data ({error.strerror or error}); free some "
            "space or set another cache folder"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        return open_panel(folder) is not None
    except Damaged:
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _data_offset(path: Path) -> int:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            np.lib.format.read_array_header_1_0(file)
        else:
            np.lib.format.read_array_header_2_0(file)
        return file.tell()
