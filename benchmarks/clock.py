"""Timing on a machine that others use too: runs take turns, and the best of each counts."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def best_of(
    runs: Mapping[str, Callable[[], Any]], repeats: int, *, cpu_time: bool = False
) -> dict[str, float]:
    """Return the least seconds that each run took, after one run each that is not timed.

    Interleaved, so that a slow minute of the machine hits all of them. `cpu_time`: count the seconds this
    process was running, for machines that are never quiet.
    """
    clock = time.process_time if cpu_time else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            gc.collect()
            start = clock()
            result = run()
            seconds = clock() - start
            del result  # Outside the clock: it holds every event of the run
            if repeat > 0:
                best[name] = min(best[name], seconds)
    return best


def peak_rss_bytes() -> int:
    """Return the most memory this process ever had resident.

    Linux hands `ru_maxrss` on through fork and exec: a child would start with the peak of its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
