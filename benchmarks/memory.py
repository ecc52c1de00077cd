"""Peak memory of the four-strategy run, in a process of its own.

What the run adds to the peak, with imports done and kernels loaded, over the bytes of the panel's prices and
volumes. The panel is loaded by that process, so it is part of what is added, and so is every event kept.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import whole_loop
from benchmarks.clock import peak_rss_bytes
from benchmarks.market import panel_bytes, random_walks
from engine.slab import Bars, Universe

_FIELDS = ("ts", "open", "high", "low", "close", "volume", "benchmark")


def peak_over_panel(universe: Universe, bars: Bars, slab_rows: int = 1024) -> float:
    """Return the peak growth of the process that runs `bars`, in panels."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _FIELDS:
            np.save(Path(folder, name), getattr(bars, name))
        Path(folder, "sectors").write_text("\n".join(universe.sectors))
        Path(folder, "symbols").write_text("\n".join(universe.symbols))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", folder, str(slab_rows)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"benchmarks.memory failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout)


def main(folder: Path, slab_rows: int) -> None:
    """Load the panel of `folder`, run it, print the ratio."""
    whole_loop.four_strategies(*random_walks(20, 400), slab_rows)()  # Loads every kernel
    before = peak_rss_bytes()
    bars = Bars(**{name: np.load(folder / f"{name}.npy") for name in _FIELDS})
    symbols, sectors = (tuple((folder / name).read_text().split("\n")) for name in ("symbols", "sectors"))
    run = whole_loop.four_strategies(Universe(symbols, sectors=sectors), bars, slab_rows)()
    if run.bars == 0:
        raise SystemExit("the panel has no bars")
    print((peak_rss_bytes() - before) / panel_bytes(bars))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
