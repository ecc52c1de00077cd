"""What the terminal gets besides results: errors in one line, notes, and the log. All of it on stderr.

1. An expected error (anything with an `exit_code`) is one line, `error: ...`, and never a traceback, unless
   --verbose asks for it.
2. An unexpected one is one line too; its traceback is saved to a file that the line names.
3. Results go to stdout, so that a pipe gets nothing else.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from contextlib import AbstractContextManager, redirect_stdout
from typing import Any

FAILURE, INTERNAL = 1, 70


def report_error(error: BaseException, *, verbose: bool = False) -> int:
    """Print an error and return the exit code it stands for."""
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        note(f"error: {one_line(str(error))}")
        return code
    if isinstance(error, (OSError, MemoryError)):  # The machine's fault, and the message says what
        note(f"error: {one_line(str(error)) or type(error).__name__}")
        return FAILURE
    where = "" if verbose else f" (traceback: {_save_traceback(error)}; or run again with --verbose)"
    note(f"error: unexpected {type(error).__name__}: {one_line(str(error))}{where}")
    return INTERNAL


def report_usage(message: str, *, help_command: str | None = None) -> None:
    """Print what was wrong with the command line and where to read how it is used."""
    note(f"error: {one_line(message)}")
    if help_command:
        note(f"see:   {help_command} --help")


def note(line: str) -> None:
    """Print one line for the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


def prints_beside_results() -> AbstractContextManager[Any]:
    """Within, what is printed goes to stderr: a strategy of the user's may print, and is no result."""
    return redirect_stdout(sys.stderr)


def one_line(text: str) -> str:
    """Return printable text without line breaks: names from files may hold anything."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def start_logging(verbose: bool) -> None:
    """Send the log to stderr: warnings and worse, or everything with --verbose."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger().setLevel(logging.DEBUG if verbose else logging.WARNING)
    # Compilers and downloaders log each step they take; that drowns ours.
    for name in ("numba", "asyncio", "yfinance", "peewee", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)


def _save_traceback(error: BaseException) -> str:
    handle, path = tempfile.mkstemp(prefix="smallcap-", suffix=".traceback.txt")
    with os.fdopen(handle, "w") as file:
        traceback.print_exception(error, file=file)
    return path
