"""Signals that come while a monitor starts: SIGTERM and Ctrl-C end it, the others wait for the daemon."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = (signal.SIGHUP, signal.SIGUSR1)  # reload, kill switch


def end(*_: object) -> None:
    """End the process with code 0, at once: an exception could come where Python swallows it, in a callback.

    Nothing is lost by that: what is on the disk is whole at any moment.
    """
    os._exit(0)


def loading() -> None:
    """Let signals do from the first moment what they do within `starting`, which takes over."""
    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITING)


@contextmanager
def starting() -> Iterator[None]:
    """Within, until the daemon has handlers of its own, SIGTERM and Ctrl-C end the process with code 0."""
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, WAITING)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        while signal.sigtimedwait(WAITING, 0):  # Nobody acts on it any more, and it must not end the process
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def started() -> None:
    """Let the signals come that have waited: whoever acts on them is there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING)
