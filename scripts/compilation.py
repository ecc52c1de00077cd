"""Compiling ahead, on two cores: strategies in a process of their own, the desk in this one.

A first run would compile them one after the other. Both processes write to the disk cache that every later
run loads; what the other process could not compile is compiled when it is needed, as always.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.slab import Tape, Universe
    from strategies.base import Strategy

_ROOT = Path(__file__).resolve().parent.parent


def compile_ahead(strategies: Sequence[Strategy]) -> None:
    """Compile what these strategies and a desk need, using one more core than usual."""
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
    try:
        _run_desk(strategies)
        child.wait()
    finally:
        child.kill()
        child.wait()


def _run_desk(strategies: Sequence[Strategy]) -> None:
    """Let a desk work on one row."""
    import numpy as np

    from brokers.config import DeskConfig
    from brokers.desk import Desk
    from engine.events import SIGNAL_DTYPE
    from engine.market import MarketGate

    universe, tape = _one_row()
    gate = MarketGate()
    gate.start()
    desk = Desk(universe, strategies, DeskConfig())
    desk.process(tape, gate.on_bars(tape), [np.empty(0, SIGNAL_DTYPE) for _ in strategies])


def _one_row() -> tuple[Universe, Tape]:
    import numpy as np

    from engine.intake import Intake
    from engine.slab import Bars, Universe

    universe = Universe(("A",))
    intake = Intake()
    intake.start(universe)
    price = np.full((1, 1), 10.0)
    return universe, intake.on_bars(Bars(np.array([1]), price, price, price, price, 1000.0 * price))


def main(names: Sequence[str]) -> None:
    """Let each strategy work on one row."""
    from strategies import registry

    universe, tape = _one_row()
    for name in names:
        strategy = registry.create(name)
        strategy.start(universe)
        strategy.on_bars(tape, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
