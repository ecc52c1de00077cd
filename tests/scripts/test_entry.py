"""The program's first moments: its standard streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def started(redirections: str, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Begin as main.py does, streams redirected by a shell, then run `code`."""
    begun = f"import os, sys; from scripts import entry; entry._open_standard_streams(); {code}"
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", begun], cwd=ROOT,
        env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_errors_do_not_go_to_stdout_because_stderr_is_closed():
    done = started("2>&-", "print('to err', file=sys.stderr); print('to out')")
    assert (done.returncode, done.stdout) == (0, "to out\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_no_file_gets_the_number_of_a_stream_that_was_closed(closed):
    done = started(closed, "print(os.open(os.devnull, os.O_RDONLY), file=sys.stderr)")
    assert (done.returncode, done.stderr) == (0, "3\n")


def test_what_the_terminal_has_no_character_for_is_escaped():
    done = started("", "print(chr(252))", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "\\xfc\n")
