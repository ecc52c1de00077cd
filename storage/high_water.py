"""The high-water mark: how far the store had come, in a small file of its own beside the database.

A database file that lost its newest transactions (a truncated log, yesterday's copy) opens without any
complaint. This file is what notices. It holds two records. One is written at every commit; once it is
known to be on the disk the other one is, so that a record torn by a power cut leaves a good one. The
newest readable one counts.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import NamedTuple

from storage.journal import Head

_RECORD = struct.Struct("<8sq32sq16s")
_RECORD_1 = struct.Struct("<8sq32s16s")  # of version 1, without asides
_MAGIC, _MAGIC_1 = b"scmark2\n", b"scmark1\n"
_SLOT = 512  # a sector each: a torn write cannot reach the other one


class Mark(NamedTuple):
    """How far a store had come. asides: transactions that changed it without a row of the journal."""

    head: Head
    asides: int = 0


class HighWater:
    """The open file. `mark` is what was read, None when neither record can be."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = os.pread(self._file, 2 * _SLOT, 0)
        self.mark = _newest(data)
        self._unsynced = False
        self._next = 1 if self.mark is not None and _records(data)[0] == self.mark else 0

    def raise_to(self, mark: Mark) -> None:
        """Write a mark; it outlives this process, and a power cut after `sync`. Raises OSError."""
        record = _RECORD.pack(_MAGIC, *mark.head, mark.asides, bytes(16))
        record = record[:-16] + hashlib.sha256(record[:-16]).digest()[:16]
        if os.pwrite(self._file, record, self._next * _SLOT) != len(record):
            raise OSError("high-water mark: short write")
        self.mark = mark
        self._unsynced = True

    def sync(self) -> None:
        """Return when the newest mark is on the disk. Raises OSError."""
        if self._unsynced:
            os.fdatasync(self._file)
            self._unsynced = False
            self._next = 1 - self._next

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> Mark | None:
    """Return the newest readable mark of a file, None without one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return _newest(data)


def _newest(data: bytes) -> Mark | None:
    return max((mark for mark in _records(data) if mark is not None), default=None)


def _records(data: bytes) -> list[Mark | None]:
    return [_decode(data[slot * _SLOT :]) for slot in (0, 1)]


def _decode(data: bytes) -> Mark | None:
    for record, magic in ((_RECORD, _MAGIC), (_RECORD_1, _MAGIC_1)):
        if data.startswith(magic) and len(data) >= record.size:
            body, check = data[: record.size - 16], data[record.size - 16 : record.size]
            if hashlib.sha256(body).digest()[:16] == check:
                _, seq, digest, *asides, _ = record.unpack(data[: record.size])
                return Mark(Head(seq, digest), *asides)
    return None
