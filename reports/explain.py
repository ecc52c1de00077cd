"""Why a strategy traded nothing: the one question an empty result raises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.events import Fills, Orders, OrderStatus, Signals
from reports.recorder import BLEND, Recorder, count_reasons

if TYPE_CHECKING:
    from strategies.base import Strategy

SIGNAL_CONDITION = "signal"  # the entry of a tally that counts bars which passed every condition
_SHOWN = 3


def explain(recorder: Recorder, strategies: Sequence[Strategy], *, bars: int, rows: int) -> dict[str, str]:
    """Return, for each strategy that filled no order, one sentence saying where its trades were lost.

    bars: traded bars scanned, all symbols together; rows: timestamps.
    """
    blend = recorder.accounts == (BLEND,)
    lines = {}
    for index, strategy in enumerate(strategies):
        if blend and _count(recorder, index, Signals):
            continue  # Its signals were votes; what became of them is the blend's story
        if not _count(recorder, index, Fills):
            lines[strategy.name] = _why(recorder, index, strategy.tally(), strategy.warmup_bars, bars, rows)
    if blend and not _count(recorder, len(strategies), Fills) and len(lines) < len(strategies):
        lines[BLEND] = _after_signals(recorder, len(strategies))
    return lines


def _why(
    recorder: Recorder, index: int, tally: Mapping[str, int], warmup_bars: int, bars: int, rows: int
) -> str:
    scanned = f"{bars:,} bars scanned"
    if _count(recorder, index, Signals):
        return f"{scanned}, {_after_signals(recorder, index)}"
    if rows <= warmup_bars:
        return f"{scanned}, no signal: warm-up takes {warmup_bars} bars per symbol, the data has {rows}"
    return f"{scanned}, no signal: {failed_most(tally)}"


def failed_most(tally: Mapping[str, int]) -> str:
    """Say which conditions ended most bars, e.g. "volume failed on 81 % of bars, then warmup 12 %"."""
    failed = {name: n for name, n in tally.items() if name != SIGNAL_CONDITION and n}
    total = sum(tally.values())
    if not failed:
        return "the strategy keeps no tally of its conditions"
    order = sorted(failed, key=lambda name: (-failed[name], name))[:_SHOWN]
    shares = [f"{name} {100 * failed[name] / total:.1f} %" for name in order]
    return f"bars ended most often at {', then '.join(shares)}"


def _after_signals(recorder: Recorder, index: int) -> str:
    """Say what became of the signals of a strategy (or of the blend) that filled nothing."""
    n_signals = _count(recorder, index, Signals)
    orders = recorder.rows(Orders)
    orders = orders[orders["strategy"] == index]
    if not len(orders):
        refused = recorder.rejections_by_reason(index)
        return f"{n_signals:,} signals, no order: rejected for {_listed(refused) or 'no recorded reason'}"
    ended = orders[
        np.isin(orders["status"], (OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED))
    ]
    why = (
        _listed(count_reasons(ended["end_reason"])) if len(ended) else "still waiting at the end of the data"
    )
    return f"{n_signals:,} signals, {len(np.unique(orders['order_id'])):,} orders, none filled: {why}"


def _count(recorder: Recorder, index: int, kind: type[Fills | Signals]) -> int:
    return int(np.count_nonzero(recorder.rows(kind)["strategy"] == index))


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:_SHOWN])
