"""Write a signal from a kernel."""

from __future__ import annotations

import numpy as np

from engine.events import N_DETAILS, OrderType, Tif
from engine.jit import step
from strategies.base import SignalBuffer

_MARKET, _DAY = int(OrderType.MARKET), int(Tif.DAY)


@step
def emit(out: SignalBuffer, ts: int, symbol: int, side: int, confidence: float, price_ref: float) -> int:
    """Append a market order for the next open and return the number of its row in `out.rows`.

    Every field is written: rows are used again, and what the caller leaves alone must read "none".
    """
    i = out.count[0]
    out.count[0] = i + 1
    signal = out.rows[i]
    signal["ts"] = ts
    signal["symbol"] = symbol
    signal["strategy"] = 0  # Set by `Strategy.on_bars`
    signal["side"] = side
    signal["confidence"] = confidence
    signal["price_ref"] = price_ref
    signal["structure_stop"] = np.nan
    signal["stop_distance"] = np.nan
    signal["order_type"] = _MARKET
    signal["tif"] = _DAY
    signal["limit"] = np.nan
    signal["trigger"] = np.nan
    signal["trail"] = np.nan
    signal["open_max"] = np.nan
    signal["pivot"] = np.nan
    signal["target"] = np.nan
    details = signal["details"]
    for j in range(N_DETAILS):
        details[j] = np.nan
    return i
