"""Compiling ahead, on two cores: the desk in this process, all other kernels of a run in one of their own.

A first run would compile them one after the other. Both processes write to the disk cache that every later
run loads; what the other process could not compile is compiled when it is needed, as always.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.slab import Bars
    from strategies.base import Strategy

_ROOT = Path(__file__).resolve().parent.parent


def compile_ahead(strategies: Sequence[Strategy]) -> None:
    """Compile what a run of these strategies needs, using one more core than usual."""
    from strategies.registry import BUILT_IN

    names = [strategy.name for strategy in strategies if strategy.name in BUILT_IN]
    if not names or (os.cpu_count() or 1) < 2:
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "scripts.compilation", *names],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    gc.disable()  # A compiler makes little garbage and very many objects to look through
    try:
        _run_desk(strategies)
        child.wait()
    finally:
        gc.enable()
        child.kill()
        child.wait()


def _run_desk(strategies: Sequence[Strategy]) -> None:
    """Let a desk work on one row."""
    import numpy as np

    from brokers.config import DeskConfig
    from brokers.desk import Desk
    from engine.events import SIGNAL_DTYPE
    from engine.jit import records
    from engine.slab import Tape, Universe

    bars = _one_row()
    tape = Tape(
        bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume, np.full((1, 1), 2, np.uint8),
        records(bars.actions), bars.benchmark,
    )  # fmt: skip
    desk = Desk(Universe(("A",)), strategies, DeskConfig())
    desk.process(tape, np.zeros(1, np.int64), [np.empty(0, SIGNAL_DTYPE) for _ in strategies])


def _one_row() -> Bars:
    import numpy as np

    from engine.slab import Bars

    price = np.full((1, 1), 10.0)
    return Bars(np.array([1]), price, price, price, price, 1000.0 * price)


def main(names: Sequence[str]) -> None:
    """Let everything but the desk work on one row, and the report on two days."""
    import numpy as np

    from engine.intake import Intake
    from engine.market import MarketGate
    from engine.slab import Universe
    from reports.bootstrap import resampled_days
    from strategies import registry

    gc.disable()
    universe = Universe(("A",))
    intake = Intake()
    intake.start(universe)
    tape = intake.on_bars(_one_row())
    for name in names:
        strategy = registry.create(name)
        strategy.start(universe)
        strategy.on_bars(tape, 0)
    MarketGate().on_bars(tape)
    days = np.zeros(2)
    resampled_days(days, days, np.random.default_rng(0), resamples=1, block=1, years=1.0, rate=0.0)


if __name__ == "__main__":
    main(sys.argv[1:])
