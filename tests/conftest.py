"""The closing table of `make nightly` and `make soak`: what each test counted, in one place."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests printed, also those that passed: a green tick without counts is no evidence."""
    if os.environ.get("SMALLCAP_FAULTS") != "all":
        return
    terminalreporter.section("counted")
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for line in report.capstdout.splitlines():
                if not line[:4].isdigit():  # What is logged begins with a date
                    terminalreporter.line(f"{report.nodeid.rpartition('::')[2]}: {line}")
