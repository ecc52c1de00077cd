"""Noticing that a file was changed by hand, once whoever writes it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.clock import Clock

LOOK_S = 2.0


async def watch(path: Path, clock: Clock, changed: Callable[[], None]) -> None:
    """Call `changed` for ever, whenever the file is another one than before at two looks in a row."""
    known = seen = _stamp(path)
    while True:
        await clock.sleep(LOOK_S)
        now = _stamp(path)
        if now == seen and now != known:
            known = now
            changed()
        seen = now


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what is another for another file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
