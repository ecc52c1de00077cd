"""The panel on disk: time-major arrays of one source in one basis, in a folder named by fingerprint.

    <store>/<fingerprint>/
        meta.json                                   symbols, counts, sizes, checksums
        open.npy high.npy low.npy close.npy volume.npy   float64[T, N], NaN where there is no bar
        ts.npy day.npy row_bars.npy                 int64[T]: UTC ns, session day, bars in the row
        actions.npy                                 ACTION_DTYPE[M], rows counted from the first
        quality.csv                             rows that were set aside

Invariants:
1. A folder without a leading dot is complete: it was written under a temporary name, synced and renamed.
2. `open_panel` returns a panel whose files have the sizes and the checksums that meta.json states; anything
   else is `Damaged`. Beyond `CHECKED_MAX` bytes, prices and volumes are held against their sizes alone.
3. A panel that nobody has opened for `UNUSED_DAYS` is removed at the next import, unless it is the newest of
   its source. Whoever has it open reads on: its files are open until the reader lets go of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.counted import counted
from engine.errors import DataError
from engine.slab import Float, Int

VERSION = 1
UNUSED_DAYS = 30
LEFT_BEHIND_DAYS = 2  # no import takes as long
CHECKED_MAX = 1 << 30
FIELDS = ("open", "high", "low", "close", "volume")
_BLOCK_BYTES = 1 << 20
_SCRATCH = re.compile(r"\..+\.\d+(\.old)?")
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
    """A stored panel, open for reading. Reads copy into fresh arrays; nothing stays mapped. Threads may read
    at the same time."""

    def __init__(self, folder: Path, meta: Meta) -> None:
        self.folder = folder
        self.meta = meta
        self.ts: Int = np.load(folder / "ts.npy")
        self.day: Int = np.load(folder / "day.npy")
        self.row_bars: Int = np.load(folder / "row_bars.npy")
        self.actions: NDArray[np.void] = np.load(folder / "actions.npy")
        self._data_at = {name: _data_offset(folder / f"{name}.npy") for name in FIELDS}
        self._files = {name: os.open(folder / f"{name}.npy", os.O_RDONLY) for name in FIELDS}
        for file in self._files.values():
            weakref.finalize(self, os.close, file)

    @property
    def n_symbols(self) -> int:
        return len(self.meta.symbols)

    def read(self, field: str, start: int, stop: int) -> Float:
        """Return rows [start, stop) of a field, float64[stop - start, N] of its own memory.

        Reading instead of mapping keeps resident memory flat however large the panel is.
        """
        rows = np.empty((stop - start, self.n_symbols))
        left, at = (
            rows.reshape(-1).view(np.uint8).data,
            self._data_at[field] + start * self.n_symbols * 8,
        )
        while left:
            n_read = os.preadv(self._files[field], [left], at)  # 2 GB at most at once
            if n_read == 0:
                raise DataError(
                    f"{self.folder}: {field}.npy was cut short while in use; run again to rebuild it"
                )
            left, at = left[n_read:], at + n_read
        return rows


def open_panel(folder: Path) -> Panel | None:
    """Return the panel in `folder`, None where there is none. Raises Damaged."""
    if not folder.is_dir():
        return None
    try:
        _mark_used(folder)
        written = json.loads((folder / "meta.json").read_bytes())
        body = written["meta"]
        if written["sha256"] != _digest(json.dumps([body, written["files"]], sort_keys=True).encode()):
            raise Damaged("meta.json does not match its checksum")
        for name, (size, _) in written["files"].items():
            found = (folder / name).stat().st_size
            if found != size:
                raise Damaged(f"{name} has {found:,} bytes, expected {size:,}")
        for name, digest in _checked(written["files"]).items():
            if digest != _checksum(folder / name):
                raise Damaged(f"{name} does not match its checksum")
        return Panel(folder, Meta(**body))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def write_meta(folder: Path, meta: Meta) -> None:
    """Write meta.json over the files that `folder` holds by now."""
    body = asdict(meta)
    files = {}
    for path in sorted(folder.iterdir()):
        files[path.name] = [path.stat().st_size, _checksum(path)]
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


def drop_unused(store: Path, *, clock: Callable[[], float] = time.time) -> str:
    """Remove the panels of a store that have not been opened for long and are not the newest of their source,
    and what imports that were killed left of theirs.

    clock: seconds since 1970. Returns what was done in a line, "" when no panel was removed.
    """
    oldest, left_behind = clock() - UNUSED_DAYS * 86_400, clock() - LEFT_BEHIND_DAYS * 86_400
    newest: dict[str, tuple[float, Path]] = {}
    unused: list[Path] = []
    for folder in store.iterdir():
        if _SCRATCH.fullmatch(folder.name):
            with suppress(OSError):
                if folder.stat().st_mtime < left_behind:
                    shutil.rmtree(folder)
            continue
        try:
            source = json.loads((folder / "meta.json").read_bytes())["meta"]["source"]
            made, used = (folder / "meta.json").stat().st_mtime, folder.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or not a panel
        newest[source] = max(newest.get(source, (0.0, folder)), (made, folder))
        if used < oldest:
            unused.append(folder)
    kept = {folder for _, folder in newest.values()}
    sizes = [_remove(folder) for folder in unused if folder not in kept]
    if not sizes:
        return ""
    return (
        f"removed {counted(len(sizes), 'stored panels')} ({sum(sizes) / 1e6:,.0f} MB) that"
        f" nobody opened for {UNUSED_DAYS} days: {store}"
    )


def _remove(folder: Path) -> int:
    """Remove a panel and return its size. It vanishes as a whole: nobody opens half of it."""
    size = sum(path.stat().st_size for path in folder.iterdir())
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        folder.rename(aside)
    except OSError:  # Another process was faster, or may do it
        return 0
    shutil.rmtree(aside, ignore_errors=True)
    return size


def _mark_used(folder: Path) -> None:
    """Note that a panel is in use now. A store that cannot be written is not cleaned either."""
    with suppress(OSError):
        os.utime(folder)


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


def _checked(files: dict[str, list[Any]]) -> dict[str, str]:
    """Return the checksums to hold files against: those of the small files alone if all is much."""
    all_bytes = sum(size for size, _ in files.values())
    return {name: digest for name, (_, digest) in files.items() if name in _SMALL or all_bytes <= CHECKED_MAX}


def _checksum(path: Path) -> str:
    if path.name in _SMALL:
        return _digest(path.read_bytes())
    crc = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
    return f"crc32:{crc:08x}"


def _data_offset(path: Path) -> int:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            np.lib.format.read_array_header_1_0(file)
        else:
            np.lib.format.read_array_header_2_0(file)
        return file.tell()
