"""What a first start compiles ahead in a process of its own, and that a second start compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.jit import numba_config
from tests.scripts.price_file import write_prices

ROOT = Path(__file__).resolve().parents[2]
RUN = """
from numba.core import event
from scripts.cli import run
with event.install_recorder("numba:compile") as compiled:
    code = run(["backtest", "--data", "prices.csv", "--strategies", "trend", "--output-dir", "out"])
print(code, len(compiled.buffer))
"""

pytestmark = pytest.mark.skipif(bool(numba_config.DISABLE_JIT), reason="nothing is compiled")


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_the_other_process_compiles_everything_but_the_desk(tmp_path: Path) -> None:
    python(ROOT, "-m", "scripts.compilation", "trend_following", SMALLCAP_CACHE_DIR=str(tmp_path))
    kernels = {path.name.split(".")[1].split("-")[0] for path in tmp_path.rglob("*.nbi")}
    assert kernels == {"intake_kernel", "market_kernel", "trend_kernel", "resample_kernel"}


def test_a_second_start_compiles_nothing_and_says_nothing_of_compiling(tmp_path: Path) -> None:
    write_prices(tmp_path / "prices.csv", n_days=160)
    first, second = (python(tmp_path, "-c", RUN) for _ in range(2))
    assert first.stdout.splitlines()[-1].split()[0] == "0"
    assert second.stdout.splitlines()[-1] == "0 0"
    assert "compiling" not in second.stderr
