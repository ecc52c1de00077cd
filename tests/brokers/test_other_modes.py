"""The desk does the same uncompiled, and compiled with every index checked."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokers.config import Mode
from tests.brokers.random_market import random_case
from tests.brokers.test_against_reference import run_desk

FEW, MANY = range(12), range(2)
HASHES = """
from tests.brokers.test_other_modes import hashes
print(*hashes())
"""


def hashes() -> list[str]:
    """Return a hash of everything the desk did on each of a few random markets, sleeves and blended."""
    cases = [random_case(seed, **mode) for seed in FEW for mode in ({}, {"mode": Mode.BLEND})]
    cases += [random_case(seed, n_rows=30, n_symbols=70) for seed in MANY]
    return [hashlib.sha256(run_desk(case).tobytes()).hexdigest() for case in cases]


@pytest.mark.parametrize(
    "switch",
    ["NUMBA_DISABLE_JIT", pytest.param("NUMBA_BOUNDSCHECK", marks=pytest.mark.nightly)],  # Compiles anew
)
def test_the_desk_gives_the_same_events(switch: str) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HASHES],
        env={**os.environ, switch: "1"}, cwd=root, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == hashes()
