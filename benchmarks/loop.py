"""The speed of the whole loop, in ratios to a C pass and to peers on the same work, all in one run.

    python -m benchmarks.loop               a table
    python -m benchmarks.loop --json        one object
    python -m benchmarks.loop --markdown    the table of docs/benchmarks.md
    python -m benchmarks.loop --small       a size for tests; its times mean nothing

Ratios travel between machines, seconds do not. Each result has a hash: a change that makes the loop faster
and moves a hash has changed the answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import c_pass, clock, machine, market, memory, peers, whole_loop
from benchmarks.report import as_markdown, as_table
from engine.slab import Bars
from feeds.synthetic import synthetic_minutes

MINUTES, MINUTES_SMALL = 100_000, 3_000
PEER_SYMBOLS = 5  # for backtesting.py, which takes one symbol at a time
MONEY: dict[str, Any] = {
    "capital_usd": whole_loop.CROSS_CONFIG.capital_usd,
    "notional_usd": whole_loop.NOTIONAL_USD,
    "commission_rate": whole_loop.CROSS_CONFIG.commission_rate,
}

_PEERS: dict[str, Callable[[Bars], Callable[[], Any] | None]] = {
    "vectorbt": lambda bars: peers.vectorbt_cross(bars, **MONEY),
    "backtesting_py": lambda bars: peers.backtesting_cross(bars, **MONEY, n_symbols=PEER_SYMBOLS),
}


def measure(
    *, small: bool = False, repeats: int = 9, cpu_time: bool = False, with_peers: bool = True
) -> dict[str, Any]:
    """Run everything; return the ratios, the seconds behind them, speeds, hashes and the machine."""
    size = (market.SMALL_SYMBOLS, market.SMALL_SESSIONS) if small else (market.SYMBOLS, market.SESSIONS)
    panel = market.random_walks(*size)
    _, bars = panel
    minutes = synthetic_minutes(market.SEED, MINUTES_SMALL if small else MINUTES)
    runs: dict[str, Callable[[], Any]] = {
        "ema_k4096": whole_loop.ema_cross(*panel, 4096),
        "ema_k1": whole_loop.ema_cross(*panel, 1),
        "four_k4096": whole_loop.four_strategies(*panel, 4096),
        "four_k1": whole_loop.four_strategies(*panel, 1),
        "one_symbol_100k": whole_loop.one_strategy(market.single("MINUTE"), minutes, 4096),
    }
    notes: dict[str, str] = {}
    try:
        runs["c"] = c_pass.prepare(c_pass.build(), bars, **MONEY)
    except c_pass.NoCompiler as reason:
        notes["c"] = str(reason)
    slow: dict[str, Callable[[], Any]] = {}
    for name, make in _PEERS.items():
        run = make(bars) if with_peers else None
        if run is not None:
            slow[name] = run
        else:
            notes[name] = "not installed: make peers" if with_peers else "not asked for"
    results = {name: run() for name, run in (runs | slow).items()}  # Compiles
    hashes, counts = _hashes(results)
    del results
    seconds = clock.best_of(runs, repeats, cpu_time=cpu_time)
    seconds |= clock.best_of(slow, max(1, repeats // 4), cpu_time=cpu_time)
    cells = {name: bars.close.size for name in seconds}
    cells["one_symbol_100k"] = minutes.close.size
    cells["backtesting_py"] = bars.n_rows * PEER_SYMBOLS

    def ratio(over: str, under: str, scale: float = 1.0) -> float | None:
        return seconds[over] / seconds[under] * scale if over in seconds and under in seconds else None

    per_bar = bars.close.size / cells["backtesting_py"]
    return {
        "ema_vs_c": ratio("c", "ema_k4096"),
        "ema_vs_vectorbt": ratio("vectorbt", "ema_k4096"),
        "four_vs_c": ratio("c", "four_k4096"),
        "k1_vs_k4096": ratio("four_k4096", "four_k1"),
        "one_symbol_100k_s": seconds["one_symbol_100k"],
        "peak_over_panel": memory.peak_over_panel(*panel),
        "k1_vs_k4096_ema": ratio("ema_k4096", "ema_k1"),
        "ema_vs_backtesting_py": ratio("backtesting_py", "ema_k4096", per_bar),
        "seconds": seconds,
        "bars_per_s": {name: cells[name] / s for name, s in seconds.items()},
        "hashes": hashes,
        "counts": counts,
        "notes": notes,
        "size": {"symbols": bars.n_symbols, "rows": bars.n_rows, "minutes": minutes.n_rows},
        "clock": "cpu" if cpu_time else "wall",
        "machine": machine.describe(),
    }


def _hashes(results: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the hash of every result of ours and of C, and the orders and final equities to compare."""
    hashes = {name: run.digest for name, run in results.items() if hasattr(run, "digest")}
    hashes["ema_as_c_counts_it"] = results["ema_k4096"].cross().digest
    counts = {}
    cross = {"loop": results["ema_k4096"].cross(), "c": results.get("c")}
    for name, run in cross.items():
        if run is not None:
            final = int(run.equity_micro[-1]) / 1e6
            counts[name] = {"orders": run.n_orders, "fills": run.n_fills, "final_equity_usd": final}
    for name in ("vectorbt", "backtesting_py"):
        if name in results:
            counts[name] = {
                "fills": results[name].n_fills, "final_equity_usd": results[name].final_equity_usd,
            }  # fmt: skip
    return hashes, counts


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark of the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description="Speed of the whole loop.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/benchmarks.md")
    parser.add_argument("--small", action="store_true", help="a tiny size, to see that it runs")
    parser.add_argument(
        "--repeats", type=int, default=9, metavar="N", help="runs of each, the best counts (9)"
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="count CPU seconds instead of wall clock, on a busy machine"
    )
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats must be >= 1, was {options.repeats}")
    print("measuring; the first run of a fresh checkout compiles for half a minute", file=sys.stderr)
    report = measure(small=options.small, repeats=options.repeats, cpu_time=options.cpu_time)
    if options.json:
        print(json.dumps(report))
    else:
        print((as_markdown if options.markdown else as_table)(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
