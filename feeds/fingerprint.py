"""What the content of a source is, in 64 hexadecimal digits.

Files are hashed in full up to 256 MB; beyond that by size, times and 64 blocks spread over the file. Above
32 MB the result is remembered in a small side index under (path, size, times, inode), so that a second start
does not read the file again. An entry is trusted only if the file had been at rest for two seconds when the
entry was written: a change within the resolution of the file system's clock cannot hide behind it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from engine.errors import DataError

_FULL_MAX = 256 << 20
_DIRECT_MAX = 32 << 20
_BLOCK = 1 << 20
_BLOCKS = 64
_REST_NS = 2_000_000_000


def source_hash(files: Sequence[tuple[str, Path]], index: Path) -> str:
    """Return the hash of labelled files, in the order given. `index` is the folder of the side index."""
    stats = [_stat(label, path) for label, path in files]
    if sum(size for size, *_ in stats) <= _DIRECT_MAX:
        return _hash_all(files, stats)
    names = [[label, str(path.resolve())] for label, path in files]
    key = hashlib.sha256(json.dumps([names, stats]).encode()).hexdigest()
    entry = index / f"{key}.txt"
    changed = max(max(mtime, ctime) for _, mtime, ctime, *_ in stats)
    try:
        known = entry.read_text()
        if len(known) == 64 and entry.stat().st_mtime_ns > changed + _REST_NS:
            return known
    except OSError:
        pass
    digest = _hash_all(files, stats)
    _remember(entry, digest)
    return digest


def _stat(label: str, path: Path) -> tuple[int, int, int, int, int]:
    try:
        s = path.stat()
    except OSError as error:
        raise DataError(f"{label}: cannot be read ({error.strerror})") from None
    return s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev


def _hash_all(files: Sequence[tuple[str, Path]], stats: Sequence[tuple[int, ...]]) -> str:
    digest = hashlib.sha256()
    for (label, path), stat in zip(files, stats, strict=True):
        digest.update(f"{label}\0{stat[0]}\0".encode())
        try:
            with path.open("rb") as file:
                if stat[0] <= _FULL_MAX:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
                else:
                    digest.update(repr(stat[1:3]).encode())
                    for i in range(_BLOCKS):
                        file.seek((stat[0] - _BLOCK) * i // (_BLOCKS - 1))
                        digest.update(file.read(_BLOCK))
        except OSError as error:
            raise DataError(f"{label}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def _remember(entry: Path, digest: str) -> None:
    """Write an index entry, whole or not at all. Failing costs time on the next start, nothing else."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        scratch = entry.with_suffix(f".{os.getpid()}.tmp")
        scratch.write_text(digest)
        scratch.replace(entry)
    except OSError:
        pass
