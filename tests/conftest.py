"""For all tests: how examples are drawn, and the closing table of `make nightly` and `make soak`."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

ALL = os.environ.get("SMALLCAP_FAULTS") == "all"

# A machine that stands still for a moment fails no test. The same examples everywhere: what a change did not
# break does not hold it up; others are drawn with SMALLCAP_FAULTS=all
settings.register_profile(
    "smallcap", deadline=None, derandomize=not ALL, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("smallcap")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests printed, also those that passed: a green tick without counts is no evidence."""
    if not ALL:
        return
    terminalreporter.section("counted")
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for line in report.capstdout.splitlines():
                if not line[:4].isdigit():  # What is logged begins with a date
                    terminalreporter.line(f"{report.nodeid.rpartition('::')[2]}: {line}")
