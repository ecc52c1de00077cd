"""Running a coroutine so that a Ctrl-C ends it at whatever moment it comes."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, as asyncio.run does; KeyboardInterrupt where Ctrl-C cancelled it.

    Of a signal Python notes only that it came, and acts on it at its next instruction. With asyncio.run, one
    that comes when the loop has looked and is about to wait is acted on when the wait is over: never, where a
    server hangs. Here each signal also ends the wait.
    """
    with asyncio.Runner() as runner, _woken_by_signals(runner.get_loop()):
        return runner.run(work)


@contextmanager
def _woken_by_signals(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        loop.add_reader(reading, reading.recv, 4096)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            loops_own = signal.set_wakeup_fd(before)
            if loops_own not in (writing.fileno(), -1):  # The work has signal handlers of the loop's
                signal.set_wakeup_fd(loops_own)
            loop.remove_reader(reading)
