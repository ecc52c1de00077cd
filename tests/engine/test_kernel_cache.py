"""A kernel that is on the disk is loaded without the compiler, and computes what it computed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import caching

from engine import jit, kernel_cache

KERNELS = """
import sys
from typing import NamedTuple

import numpy as np

from engine import jit

class Columns(NamedTuple):
    values: np.ndarray

@jit.routine
def root(value):
    return np.sqrt(np.fabs(value))

@jit.kernel
def total(columns, at_least):
    found = 0.0
    for value in columns.values:
        if not np.isnan(value):
            found += max(root(value), at_least)
    return found

@jit.kernel
def at(values, row):
    return values[row]

@jit.kernel
def doubled(value):
    return 2 * value

def main():
    columns = Columns(np.array([4.0, np.nan, -9.0, 0.25]))
    print(jit.entry(total, columns, 1.0)(columns, 1.0), at(columns.values, 3))
    print("compiler" if "numba.np.arraymath" in sys.modules else "no compiler")
    try:
        print(at(columns.values, 4))
    except IndexError as error:
        print("IndexError:", error)
    print(doubled(21), total(columns, 2.0))
"""


def test_a_second_start_loads_kernels_without_the_compiler_and_compiles_what_is_new(tmp_path: Path) -> None:
    (tmp_path / "kernels_of_a_test.py").write_text(KERNELS)

    def run() -> list[str]:
        # Bounds are checked, so that there is something a kernel raises
        env = {**os.environ, "PYTHONPATH": str(jit._ROOT), "SMALLCAP_CACHE_DIR": str(tmp_path)}
        env |= {"NUMBA_DISABLE_JIT": "0", "NUMBA_BOUNDSCHECK": "1"}
        program = "import kernels_of_a_test; kernels_of_a_test.main()"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    said = ["6.0 0.25", "compiler", "IndexError: index is out of bounds", "42 7.0"]
    assert run() == said
    for path in tmp_path.rglob("*.doubled-*"):
        path.unlink()
    assert run() == [said[0], "no compiler", *said[2:]]


def test_a_disk_that_takes_no_kernel_costs_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @jit.kernel
    def threefold(value):  # type: ignore[no-untyped-def]
        return 3 * value

    monkeypatch.setattr(kernel_cache, "_told", [])
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert (threefold(14), threefold(0.5)) == (42, 1.5)
    (told,) = caplog.messages
    assert "cannot be written (No space left on device): each start compiles anew" in told
