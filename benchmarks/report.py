"""The figures as a table for people and as Markdown for docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

_RATIOS = (
    ("ema_vs_c", "EMA cross, whole loop: speed over C", ">= 0.4"),
    ("ema_vs_vectorbt", "EMA cross, whole loop: speed over vectorbt", ">= 25"),
    ("ema_vs_backtesting_py", "EMA cross, whole loop: speed over backtesting.py", ""),
    ("four_vs_c", "four strategies, whole loop: speed over C", ">= 0.047"),
    ("k1_vs_k4096", "four strategies: speed at K = 1 over K = 4096", ">= 0.5"),
    ("k1_vs_k4096_ema", "EMA cross: speed at K = 1 over K = 4096", ""),
    ("one_symbol_100k_s", "one symbol, 100,000 minutes, one strategy: seconds", "< 0.1"),
    ("peak_over_panel", "four strategies: peak memory over the panel", "< 2.5"),
)
_RUNS = (
    ("c", "C, hand-written, EMA cross"),
    ("ema_k4096", "EMA cross, K = 4096"),
    ("ema_k1", "EMA cross, K = 1"),
    ("four_k4096", "four strategies, K = 4096"),
    ("four_k1", "four strategies, K = 1"),
    ("one_symbol_100k", "one symbol, trend following, K = 4096"),
    ("vectorbt", "vectorbt, EMA cross"),
    ("backtesting_py", "backtesting.py, EMA cross, five symbols"),
)


def as_table(report: dict[str, Any]) -> str:
    """Return the report as lines of at most 80 columns."""
    lines = [f"{'':52s}{'measured':>12s}{'target':>12s}"]
    lines += [f"{what:52s}{_number(report[key]):>12s}{target:>12s}" for key, what, target in _RATIOS]
    lines += ["", f"{'':40s}{'seconds':>12s}{'M bars/s':>10s}  hash"]
    for key, what in _RUNS:
        if key in report["seconds"]:
            seconds, speed = report["seconds"][key], report["bars_per_s"][key] / 1e6
            lines.append(f"{what:40s}{seconds:12.4f}{speed:10.3f}  {report['hashes'].get(key, '')}".rstrip())
        elif key in report["notes"]:
            lines.append(f"{what:40s}  {report['notes'][key]}")
    lines += ["", _same(report), _facts(report)]
    return "\n".join(lines)


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as the two tables of docs/benchmarks.md."""
    lines = ["| Ratio | Measured | Target |", "|---|---:|---:|"]
    lines += [f"| {what} | {_number(report[key])} | {target} |" for key, what, target in _RATIOS]
    lines += ["", "| Run | Seconds | M bars/s | Hash of the result |", "|---|---:|---:|---|"]
    for key, what in _RUNS:
        if key in report["seconds"]:
            seconds, speed = report["seconds"][key], report["bars_per_s"][key] / 1e6
            mark = f"`{report['hashes'][key]}`" if key in report["hashes"] else ""
            lines.append(f"| {what} | {seconds:.4f} | {speed:.3f} | {mark} |")
    lines += ["", _same(report), "", _facts(report)]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _same(report: dict[str, Any]) -> str:
    """Return one line that says whether the programs computed the same."""
    parts = [
        f"{name}: {run['fills']:,} fills, final equity {run['final_equity_usd']:,.6f}"
        for name, run in report["counts"].items()
        if name != "backtesting_py"
    ]
    return "Same work, same result? " + "; ".join(parts) + "."


def _facts(report: dict[str, Any]) -> str:
    size, facts = report["size"], report["machine"]
    head = f"{size['symbols']} symbols x {size['rows']:,} bars; {report['clock']} clock, best of several. "
    return head + ", ".join(f"{name} {value}" for name, value in facts.items()) + "."
