"""What a desk said of a slab, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.events import (
    DTYPES,
    Batch,
    CashFlows,
    Equity,
    Fills,
    Orders,
    Rejections,
    RiskEvents,
    Signals,
    Trades,
)


class Done:
    """Rows of each kind, empty where there were none; `equity` is int64[K, A, 3]."""

    def __init__(self, events: Sequence[Batch | Equity]) -> None:
        def rows(kind: type[Batch]) -> NDArray[Any]:
            parts = [event.rows for event in events if isinstance(event, kind)]
            return np.concatenate([np.empty(0, DTYPES[kind]), *parts])

        self.signals, self.orders, self.fills = rows(Signals), rows(Orders), rows(Fills)
        self.rejections, self.cashflows = rows(Rejections), rows(CashFlows)
        self.trades, self.risk = rows(Trades), rows(RiskEvents)
        (self.equity,) = (event.marks for event in events if isinstance(event, Equity))

    def tobytes(self) -> bytes:
        return b"".join(part.tobytes() for part in vars(self).values())
