"""Where `python main.py` and `smallcap` begin: a Ctrl-C is also heard while the program is loaded."""

from __future__ import annotations

import os
import sys

from scripts.arguments import is_monitor
from scripts.start_signals import loading

INTERRUPTED = 130


def main() -> int:
    """Run the command line of this process and return the exit code."""
    _open_standard_streams()
    if is_monitor(sys.argv[1:]):
        loading()
    try:
        from scripts.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # Nothing had begun
        return INTERRUPTED


def _open_standard_streams() -> None:
    """Give this process three standard streams that can say anything.

    One that was closed (`2>&-`, some schedulers) leads nowhere: else the next file opened would get its
    number, and errors would go to stdout. What the terminal's character set lacks is escaped.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
