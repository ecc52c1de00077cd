"""The benchmark of the stream runs at a tiny size. No time is asserted."""

from __future__ import annotations

import json
import math

from benchmarks import stream


def test_the_report_has_every_stage_and_counts_every_delivery():
    report = stream.measure(small=True)
    assert json.loads(json.dumps(report)) == report
    for told in (report["latency"], report["latency_without_pauses"]):
        figures = told["ms"]
        assert set(figures) == {"disk", "committed", "published", "received"}
        assert all(math.isfinite(value) for stage in figures.values() for value in stage.values())
        assert told["signals"] > 0
        assert told["row_bytes"] > 40 * told["symbols"]  # Five prices of each are in the journal
    (fan,) = report["fan_out"]
    assert fan["delivered"] + fan["lost"] == 200 * fan["subscribers"]
