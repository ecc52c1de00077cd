"""What a finished backtest prints: figures, counts, what was odd about the data, and where the files are.

Everything fits 80 columns, on a terminal of any width and in a pipe.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.counted import counted
from reports.performance import HEADLINE, Performance, Summary

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 80
_SHOWN_REASONS = 5


def print_summary(summary: Summary) -> None:
    """Print one line of figures per account, for all together and for the benchmark."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH)
    table.add_column("", ratio=1, overflow="fold")
    for title in ("final equity", "return", "CAGR", "max DD", "Sharpe"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, performance in {**summary.account_rows(), **summary.combined_rows()}.items():
        style = "bold" if name == "combined" else "dim" if name == "benchmark" else ""
        table.add_row(name, *_figures(performance), style=style)
    console().print(table)
    if summary.benchmark_days is not None:
        print_line("benchmark: over {} to {} alone, where it has prices".format(*summary.benchmark_days))
    reasons = {
        p.undefined[name] for p in summary.account_rows().values() for name in HEADLINE if name in p.undefined
    }
    if reasons:
        print_line(f"- : {'; '.join(sorted(reasons))}")


def print_counts(bars: int, counts: Mapping[str, int], refused: Mapping[str, int], n_open: int) -> None:
    """Print how much of everything there was, rejections by reason."""
    parts = [
        counted({"bars": bars, **counts}[kind], kind)
        for kind in ("bars", "signals", "orders", "fills", "trades")
    ]
    print_line(f"{', '.join(parts)}, {counted(n_open, 'positions')} open")
    if refused:
        print_line(rejections(refused))


def rejections(refused: Mapping[str, int]) -> str:
    """Return how many rejections there were in all, and for the most frequent reasons."""
    shown = [f"{name} {n:,}" for name, n in list(refused.items())[:_SHOWN_REASONS]]
    more = len(refused) - _SHOWN_REASONS
    rest = f", and {counted(more, 'other reasons')}" if more > 0 else ""
    return f"rejections {sum(refused.values()):,}: {', '.join(shown)}{rest}"


def print_untraded(reasons: Mapping[str, str]) -> None:
    """Print why strategies traded nothing."""
    for name, why in reasons.items():
        print_line(f"{name} did not trade: {why}")


def print_quality(quality: Any) -> None:
    """Print what was set aside of the input, and what a reader should know about it."""
    from feeds.quality import rows_and_adjustments

    rows, adjustments = rows_and_adjustments(quality.counts)
    for what, counts in (("rows set aside", rows), ("adjustments set aside, their bars used", adjustments)):
        if counts:
            by_reason = ", ".join(f"{reason} {n:,}" for reason, n in counts.items())
            print_line(f"data: {what} {sum(counts.values()):,}: {by_reason}")
    for remark in quality.notes:
        print_line(f"data: {remark}")


def print_files(directory: Path, paths: Iterable[Path]) -> None:
    """Print where the artefacts are."""
    names = sorted(path.relative_to(directory).as_posix() for path in paths)
    print_line(f"written to {directory}: {', '.join(names)}")


def print_line(text: str) -> None:
    """Print text on stdout, folded at 80 columns between words."""
    print(textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def console() -> Console:
    """Return stdout, 80 columns wide: in a narrower window its lines wrap, and no figure is cut off."""
    from rich.console import Console

    return Console(width=WIDTH, highlight=False)


def _figures(performance: Performance) -> tuple[str, ...]:
    figures = performance.figures()
    shapes = {"final_equity": ",.2f", "sharpe": ".2f"}
    return tuple(
        "-" if (value := figures[name]) is None else format(value, "z" + shapes.get(name, ".1%"))
        for name in HEADLINE
    )
