"""The benchmark of starting runs. No time is asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks import start_up


def test_every_start_is_measured_up_to_its_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("TS_STREAM__ADDRESS", "TS_MONITOR__HTTP_ADDRESS"):
        monkeypatch.setenv(name, "null")  # Other tests run beside this one
    options = ("--strategies", "trend", *start_up.OPTIONS)
    assert start_up.main(["--json", "--repeats", "1", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["options"] == list(options)
    assert report["seconds"].keys() == report["cpu_seconds"].keys() == start_up.STARTS.keys()
    assert all(seconds > 0 for seconds in report["seconds"].values())
