"""Why a strategy traded nothing: the one question an empty result raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.counted import counted
from engine.events import Fills, Orders, OrderStatus, Signals
from reports.recorder import BLEND, Recorder, count_reasons

if TYPE_CHECKING:
    from strategies.base import Strategy

SIGNAL_CONDITION = "signal"  # the entry of a tally that counts bars which passed every condition
_SHOWN = 3
_UNFILLED = (OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED)


def explain(recorder: Recorder, strategies: Sequence[Strategy], *, bars: int, rows: int) -> dict[str, str]:
    """Return, for each strategy that filled no order, one sentence saying where its trades were lost.

    In a blend the signals of a strategy are votes: it is named when it gave none, and the blend when its
    decisions filled nothing. bars: traded bars scanned, all symbols together; rows: timestamps.
    """
    scanned = f"{counted(bars, 'bars')} scanned"
    blend = recorder.accounts == (BLEND,)
    signals, fills = recorder.rows(Signals)["strategy"], recorder.rows(Fills)["strategy"]
    lines = {}
    for index, strategy in enumerate(strategies):
        n_signals = int(np.count_nonzero(signals == index))
        if not n_signals:
            lines[strategy.name] = f"{scanned}, no signal: {_why_silent(strategy, rows)}"
        elif not blend and not np.any(fills == index):
            lines[strategy.name] = f"{scanned}, {_after_signals(recorder, n_signals, index)}"
    if blend and len(signals) and not len(fills):
        votes = int(np.count_nonzero(signals < len(strategies)))
        lines[BLEND] = f"{scanned}, {_after_signals(recorder, votes)}"
    return lines


def _why_silent(strategy: Strategy, rows: int) -> str:
    if rows <= strategy.warmup_bars:
        return f"warm-up takes {strategy.warmup_bars} bars per symbol, the data has {rows}"
    return failed_most(strategy.tally())


def failed_most(tally: Mapping[str, int]) -> str:
    """Say which conditions ended most bars, e.g. "volume failed on 81 % of bars, then warmup 12 %"."""
    failed = {name: n for name, n in tally.items() if name != SIGNAL_CONDITION and n}
    total = sum(tally.values())
    if not failed:
        return "the strategy keeps no tally of its conditions"
    order = sorted(failed, key=lambda name: (-failed[name], name))[:_SHOWN]
    shares = [f"{name} {100 * failed[name] / total:.1f} %" for name in order]
    return f"bars ended most often at {', then '.join(shares)}"


def _after_signals(recorder: Recorder, n_signals: int, index: int | None = None) -> str:
    """Say what became of the signals of a strategy (None: of all) that filled nothing."""
    orders = recorder.rows(Orders)
    if index is not None:
        orders = orders[orders["strategy"] == index]
    if not len(orders):
        refused = recorder.rejections_by_reason(index)
        return f"{counted(n_signals, 'signals')}, no order: {_listed(refused) or 'no reason was recorded'}"
    ended = orders[np.isin(orders["status"], _UNFILLED)]
    why = _listed(count_reasons(ended["end_reason"])) if len(ended) else "waiting when the data ended"
    placed = counted(len(np.unique(orders["order_id"])), "orders")
    return f"{counted(n_signals, 'signals')}, {placed}, none filled: {why}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:_SHOWN])
