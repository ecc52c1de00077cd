"""Starting: what passes before a monitor has processed its first bar, and before `--help` is on the screen.

    python -m benchmarks.start_up                                  a table
    python -m benchmarks.start_up --json                           one object
    python -m benchmarks.start_up --data PATH --end DATE           options of `monitor`: another market

Each start is a process of its own, with the default settings and all four strategies; the clock runs from
before it is made. A second start finds the store of the first with nothing left to process: it is over when
the monitor is ready. Kernels are compiled by a run that is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine

MAIN = Path(__file__).resolve().parent.parent / "main.py"
OPTIONS = ("--end", "2015-01-07")  # of a monitor on the synthetic market: three rows
STARTS = {
    "new_store": "monitor, new store: first bar processed",
    "known_store": "monitor, store of before: ready",
    "help": "--help",
}


class Started(NamedTuple):
    wall_s: float
    cpu_s: float  # of the whole process, its end included


def measure(options: Sequence[str] = OPTIONS, *, repeats: int = 9) -> dict[str, Any]:
    """Start everything `repeats` times in turn; return the best of each, and the machine."""
    starts: dict[str, list[Started]] = {name: [] for name in STARTS}
    _monitor(options)
    for _ in range(repeats):
        for name, started in zip(STARTS, (*_monitor(options), _run(["--help"])[0]), strict=True):
            starts[name].append(started)
    return {
        "seconds": {name: min(one.wall_s for one in runs) for name, runs in starts.items()},
        "cpu_seconds": {name: min(one.cpu_s for one in runs) for name, runs in starts.items()},
        "options": list(options),
        "load_before": os.getloadavg()[0],
        "machine": machine.describe(),
    }


def _monitor(options: Sequence[str]) -> tuple[Started, Started]:
    """Return the start on a store that is not there yet, and the start on what it left."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["monitor", *options, "--json", "--store", f"{folder}/store"]
        return _until("to_first_row", words), _until("to_ready", words)


def _until(moment: str, words: list[str]) -> Started:
    """Return the start up to a moment that the command itself reports: what came after it is taken off."""
    started, said = _run(words)
    seconds = json.loads(said)["seconds"]
    return started._replace(wall_s=started.wall_s - (seconds["total"] - seconds[moment]))


def _run(words: list[str]) -> tuple[Started, str]:
    began_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(MAIN), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began_s
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit code {child.returncode}")
    return Started(wall_s, usage.ru_utime + usage.ru_stime), said


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark of the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start_up",
        description="Starting. Other options are handed to `monitor`.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="starts of each, the best counts")
    asked, options = parser.parse_known_args(arguments)
    report = measure(options or OPTIONS, repeats=asked.repeats)
    if asked.json:
        print(json.dumps(report))
        return 0
    print(f"{'':44}{'seconds':>9}{'CPU':>9}")
    for name, what in STARTS.items():
        print(f"{what:44}{report['seconds'][name]:>9.2f}{report['cpu_seconds'][name]:>9.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
