"""Where `python main.py` and `smallcap` begin: a Ctrl-C is also heard while the program is loaded."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line of this process and return the exit code."""
    try:
        from scripts.cli import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # Nothing had begun
        return INTERRUPTED
