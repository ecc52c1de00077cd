"""What the monitor measures of itself, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from monitors.health import Health

# Those that are there from the start: a rate has no beginning where a counter appears with its first count
COUNTERS = (
    "rows", "bars", "signals", "orders", "fills", "rejections", "trades", "alerts", "inputs",
    "stream_messages", "task_failures",
)  # fmt: skip
Gauges = Callable[[], Iterator[tuple[str, str, float]]]  # name, help, value


def metrics(registry: Any) -> tuple[str, bytes]:
    """Return content type and text of a registry."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return CONTENT_TYPE_LATEST, generate_latest(registry)


def registry(health: Health, gauges: Gauges) -> Any:
    """Return what collects the counts and measures whenever it is asked."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Collector:
        def collect(self) -> Iterator[Any]:
            for name, count in sorted({**dict.fromkeys(COUNTERS, 0), **health.counts}.items()):
                yield CounterMetricFamily(f"smallcap_{name}", f"{name} since the start", value=count)
            now = (
                ("ready", "1 while inputs are taken", float(health.ready and not health.stopping)),
                ("healthy", "1 without a problem", float(not health.problems())),
                ("loop_lag_seconds", "how late the event loop is", health.lag_s),
                ("loop_lag_worst_seconds", "the same, at its worst in the last minute", health.lag_worst_s),
                ("commit_seconds", "what the newest transaction took", health.commit_s),
                ("feed_age_seconds", "since the feed last gave anything", health.feed_age_s),
                ("newest_row_timestamp_seconds", "when the newest row was known", health.ts_ns / 1e9),
                ("journal_seq", "newest journal row", float(health.journal_seq)),
            )
            for name, meaning, value in (*now, *gauges()):
                yield GaugeMetricFamily(f"smallcap_{name}", meaning, value=value)

    found = CollectorRegistry(auto_describe=False)
    found.register(Collector())
    return found
