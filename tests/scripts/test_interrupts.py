"""Ctrl-C ends a command, also when it comes at the worst moment."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.interrupts import run_interruptible
from tests.scripts.foreground import FOREGROUND
from tests.scripts.price_file import write_prices

ROOT = Path(__file__).parents[2]
WAIT_FOR_EVER = """
import asyncio, signal
from scripts.interrupts import run_interruptible
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    run_interruptible(asyncio.Event().wait())
except KeyboardInterrupt:
    print("interrupted")
"""


async def value():
    return 3


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_ctrl_c_between_the_last_look_and_the_wait_is_not_lost(tmp_path):
    shim = tmp_path / "late.so"
    source = Path(__file__).with_name("late_interrupt.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", WAIT_FOR_EVER], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"LD_PRELOAD": str(shim)}, timeout=600,
    )  # fmt: skip
    assert done.stdout == "interrupted\n", done.stderr


def test_what_the_work_returns_or_raises_comes_out():
    async def failing():
        raise LookupError("no")

    assert run_interruptible(value()) == 3
    with pytest.raises(LookupError):
        run_interruptible(failing())


@pytest.mark.parametrize("own", [False, True])
def test_the_process_takes_signals_as_it_did_before(own):
    async def work():
        if own:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, int)

    before = signal.getsignal(signal.SIGINT)
    run_interruptible(work())
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_handler_of_the_work_is_still_called_while_it_winds_up():
    called = threading.Event()

    async def work():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, called.set)
        task = asyncio.create_task(winds_up())
        await asyncio.sleep(0)
        return task

    async def winds_up():
        try:
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGUSR1)
            while not called.is_set():
                await asyncio.sleep(0)

    run_interruptible(work())
    assert called.is_set()


A_SIGNAL_AT_THE_IMPORT_OF = """
import signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.{signal})

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["scripts.cli", "typer", "scripts.backtest", "numpy"])
def test_a_ctrl_c_while_the_program_is_loaded_is_code_130_without_a_traceback(tmp_path, module):
    done = signalled(tmp_path, "SIGINT", module, "backtest")
    assert done.returncode == 130
    assert done.stderr in ("", "interrupted; nothing was kept\n")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("module", ["scripts.monitor", "numpy", "feeds.replay"])
def test_a_monitor_that_is_told_to_stop_before_it_has_begun_ends_with_0(tmp_path, number, module):
    done = signalled(tmp_path, number, module, "monitor")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", ["SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("module", ["scripts.monitor", "feeds.replay"])
def test_a_signal_for_the_daemon_waits_while_a_monitor_starts(tmp_path, monkeypatch, number, module):
    for name in ("TS_STREAM__ADDRESS", "TS_MONITOR__HTTP_ADDRESS"):
        monkeypatch.setenv(name, "null")
    data = str(write_prices(tmp_path / "prices.csv", n_days=10))
    done = signalled(tmp_path, number, module, "monitor", "--data", data, "--strategies", "trend")
    assert done.returncode == 0, done.stderr
    assert "10 rows" in done.stdout


def test_a_start_that_fails_has_its_own_exit_code_whatever_waits(tmp_path):
    done = signalled(tmp_path, "SIGHUP", "scripts.monitor", "monitor", "--data", "nowhere.csv")
    assert done.returncode == 65, done.stderr


@pytest.mark.parametrize("option", ["--verify", "--replay-journal"])
def test_a_store_that_was_not_read_to_its_end_is_not_called_whole(tmp_path, option):
    assert signalled(tmp_path, "SIGTERM", "scripts.monitor", "monitor", option, "live").returncode != 0


def signalled(folder, number, module, *words):
    """Run a command, a signal coming while a module is looked for."""
    (folder / "sitecustomize.py").write_text(A_SIGNAL_AT_THE_IMPORT_OF.format(signal=number, module=module))
    return subprocess.run(
        [*FOREGROUND, str(ROOT / "main.py"), *words], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(folder)}, timeout=60, check=False,
    )  # fmt: skip
