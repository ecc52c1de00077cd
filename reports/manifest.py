"""`run.json`: everything needed to tell what a run was, and whether another one was the same.

Two runs of one command give the same bytes but for `timings`, where all clocks are kept, and
`significance`, which counts the trials on these data so far.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reports.files import Dates, write_atomic
from reports.performance import Summary
from reports.recorder import Recorder

PACKAGES = ("smallcap", "numpy", "numba", "llvmlite", "msgspec", "pandas", "pyarrow")


def describe_data(feed: Any, quality: Any, recorder: Recorder) -> dict[str, Any]:
    """Return what is known of a feed: its own account of itself, what was set aside of it
    (`feeds.quality.Quality`), and the days that were replayed."""
    ts = recorder.equity().ts
    first_last = Dates(ts)(ts[[0, -1]]) if len(ts) else [None, None]
    return {
        "source": getattr(feed, "source", type(feed).__name__),
        "fingerprint": getattr(feed, "fingerprint", None),
        "benchmark": feed.universe.benchmark or None,
        "symbols": len(feed.universe),
        "rows": len(ts),
        "first": first_last[0],
        "last": first_last[1],
        "quarantined": dict(quality.counts),
        "notes": list(quality.notes),
    }


def describe_strategies(strategies: Sequence[Any], weights: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {
            "name": strategy.name,
            "weight": float(weight),
            "warmup_bars": strategy.warmup_bars,
            "parameters": strategy.parameters(),
            "exits": strategy.exits._asdict(),
            "tally": strategy.tally(),
        }
        for strategy, weight in zip(strategies, weights, strict=True)
    ]


def describe_weights(weights: Any) -> dict[str, Any] | None:
    """Return what is known of the benchmark's weights (`feeds.weights.BenchmarkWeights`)."""
    if weights is None:
        return None
    dates = [str(when) for when in weights.holdings if when is not None]
    return {"file": weights.name, "dates": dates, "by_name": weights.by_name}


def describe_positions(recorder: Recorder, positions: Any) -> list[dict[str, Any]]:
    """Return the positions still open (`brokers.desk.POSITION_DTYPE` rows) by their names."""
    dates = Dates(recorder.equity().ts)
    per_share = 1e6 if recorder.fractional_shares else 1
    return [
        {
            "account": recorder.accounts[row["account"]],
            "symbol": recorder.universe.symbols[row["symbol"]],
            "strategy": recorder.strategy_names[row["strategy"]],
            "quantity": int(row["quantity"]) / per_share if per_share > 1 else int(row["quantity"]),
            "entry_price": float(row["entry_price"]),
            "entry_date": dates(row["ts_entry"].reshape(1))[0],
            "mark": float(row["mark"]),
            "stop": float(row["stop"]),
            "initial_stop": float(row["initial_stop"]),
        }
        for row in positions
    ]


def metrics(summary: Summary) -> dict[str, dict[str, float | None]]:
    """Return the figures of every account, of all together and of the benchmark; None where undefined."""
    rows = {**summary.account_rows(), **summary.combined_rows()}
    return {name: performance.figures() for name, performance in rows.items()}


def undefined(summary: Summary) -> dict[str, dict[str, str]]:
    """Return why figures are undefined, for those that have some."""
    rows = {**summary.account_rows(), **summary.combined_rows()}
    return {name: performance.undefined for name, performance in rows.items() if performance.undefined}


def code_versions() -> dict[str, str]:
    """Return the versions that can change a result."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the record of a run as JSON."""
    write_atomic(path, to_json(manifest).encode())


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return strict JSON, one line with `indent=None`. NaN and infinities become null."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if hasattr(value, "item"):  # NumPy's scalars
        return _plain(value.item())
    return str(value)
