"""What the figures were taken on: numbers without their machine mean nothing."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import c_pass, peers


def describe() -> dict[str, str]:
    """Return date, CPU, cores and the versions of everything that is timed."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    facts |= {package: version(package) for package in ("numpy", "numba", "llvmlite")}
    for package in ("vectorbt", "backtesting"):
        facts[package] = peers.installed(package) or "not installed"
    cc = c_pass.compiler()
    facts["cc"] = f"{c_pass.version(cc)}, {' '.join(c_pass.FLAGS[:3])}" if cc else "none"
    return facts


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
