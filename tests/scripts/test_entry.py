"""The program's first moments: its standard streams, and signals that come while it is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIGNALLED = """
import os, signal, sys, types
def loading(name):
    os.kill(os.getpid(), signal.Signals[os.environ["SENT"]])
    return lambda words: 3
sys.modules["scripts.cli"] = types.ModuleType("scripts.cli")
sys.modules["scripts.cli"].__getattr__ = loading
from scripts.entry import main
sys.exit(main())
"""
IN_A_CALLBACK = """
import os, signal, sys
from scripts.start_signals import starting
class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10))
with starting():
    Late()
    sys.exit(3)
"""


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


@pytest.mark.parametrize(
    ("sent", "words", "code"),
    [
        ("SIGTERM", ["monitor"], 0),
        ("SIGTERM", ["--settings", "s.json", "monitor", "--once"], 0),
        ("SIGTERM", ["monitor", "--verify", "store"], -15),  # Ended early it must not say that all is well
        ("SIGTERM", ["monitor", "--replay-journal=store"], -15),
        ("SIGTERM", ["backtest", "--output-dir", "monitor"], -15),
        (
            "SIGHUP",
            ["monitor"],
            3,
        ),  # A reload and the kill switch wait until there is somebody to act on them
        ("SIGUSR1", ["monitor"], 3),
        ("SIGHUP", ["backtest"], -1),
    ],
)
def test_what_a_signal_does_while_the_program_is_loaded(sent, words, code):
    command = [sys.executable, "-c", SIGNALLED, *words]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SENT": sent}, timeout=600, check=False)
    assert done.returncode == code


def test_a_stop_that_comes_within_a_callback_is_not_lost():
    done = subprocess.run([sys.executable, "-c", IN_A_CALLBACK], cwd=ROOT, timeout=600, check=False)
    assert done.returncode == 0
