"""Room for the write-ahead log of a store whose commits are large, before it grows by itself.

Over old bytes a commit takes two thirds of the time that it takes where the log grows, and less again where
the kernel holds the log in pieces of 32 kB: it holds them as they were first written, and SQLite writes 24
and 4,096 bytes at a time.
"""

from __future__ import annotations

import os
from pathlib import Path

LARGE_COMMIT_BYTES = 64 * 2**10
LOG_BYTES = 8 * 2**20  # what 32 commits of 2,000 symbols need, and more
PIECE_BYTES = 32 * 2**10
DISK_SHARE = 16  # as large as the log at least must be what is free


def make_room(log: Path, n_commits: int) -> None:
    """Lengthen a log that holds so many commits, if they are large, by zeros: to a reader they are its end.

    Raises OSError.
    """
    size, disk = log.stat().st_size, os.statvfs(log)
    if size < n_commits * LARGE_COMMIT_BYTES or disk.f_bavail * disk.f_frsize < DISK_SHARE * LOG_BYTES:
        return
    piece = bytes(PIECE_BYTES)
    with log.open("r+b", buffering=0) as file:
        for at in range(size, LOG_BYTES, PIECE_BYTES):
            if os.pwrite(file.fileno(), piece, at) != PIECE_BYTES:
                raise OSError("write-ahead log: short write")
        os.fdatasync(file.fileno())
