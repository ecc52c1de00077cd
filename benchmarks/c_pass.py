"""The yardstick in C: compiled where there is a compiler, run over the same arrays."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ema_cross import EmaCrossParams
from benchmarks.result import CrossRun
from engine.slab import Bars

SOURCE = Path(__file__).with_name("ema_cross.c")
# Without contraction: a fused multiply-add rounds once, and the results could not be compared bit for bit
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")


class NoCompiler(RuntimeError):
    """There is no C compiler, or it failed. The text says which."""


class _Params(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_double) for name in ("fast_weight", "slow_weight", "notional", "commission")
    )


class _Account(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("n_orders", "n_fills", "cash"))


def compiler() -> str | None:
    """Return the C compiler: the one named in CC, else cc, gcc or clang; None without one."""
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def version(cc: str) -> str:
    """Return the first line of what the compiler says about itself."""
    done = subprocess.run([cc, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] or cc


def build() -> ctypes.CDLL:
    """Compile the pass and load it. Raises NoCompiler."""
    cc = compiler()
    if cc is None:
        raise NoCompiler("no C compiler: install gcc or clang, or name one in CC")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "ema_cross.so")
        command = [cc, *FLAGS, str(SOURCE), "-o", str(library), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoCompiler(f"{cc} failed with code {done.returncode}: {done.stderr.strip()[-200:]}")
        return ctypes.CDLL(str(library))


def prepare(
    library: ctypes.CDLL,
    bars: Bars,
    *,
    capital_usd: float,
    notional_usd: float,
    commission_rate: float,
    spans: EmaCrossParams = EmaCrossParams(),  # noqa: B008
) -> Callable[[], CrossRun]:
    """Return a function that runs the pass over `bars` from the start."""
    weights = (2.0 / (spans.fast_span + 1), 2.0 / (spans.slow_span + 1))
    params = _Params(*weights, notional_usd, commission_rate)
    fast, slow, mark = np.zeros((3, bars.n_symbols))
    held, wanted = np.zeros((2, bars.n_symbols), np.int64)
    equity = np.zeros(bars.n_rows, np.int64)

    def run() -> CrossRun:
        fast[:] = slow[:] = np.nan
        mark[:] = held[:] = wanted[:] = 0
        account = _Account(0, 0, round(capital_usd * 1e6))
        library.ema_cross(
            ctypes.c_int64(bars.n_rows), ctypes.c_int64(bars.n_symbols), _at(bars.open), _at(bars.close),
            ctypes.byref(params), _at(fast), _at(slow), _at(mark), _at(held), _at(wanted),
            ctypes.byref(account), _at(equity),
        )  # fmt: skip
        return CrossRun(account.n_orders, account.n_fills, equity.copy())

    return run


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
