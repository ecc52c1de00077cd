"""The daily file of 400 real names as a tape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.slab import ACTION_DTYPE, ActionKind, Tape
from tests.strategies.random_tapes import make_tape


def market_tape(folder: Path) -> Tape:
    """Return split-adjusted bars with the dividends that `adj_close` implies (domain.md section 0)."""
    frame = pd.read_parquet(folder / "smallcap_daily.parquet")
    symbols, s = np.unique(frame["symbol"].to_numpy(str), return_inverse=True)
    ts, t = np.unique(
        pd.to_datetime(frame["date"]).to_numpy().astype("M8[ns]").astype(np.int64), return_inverse=True
    )
    panel = {}
    for name in ("open", "high", "low", "close", "volume", "adj_close"):
        panel[name] = np.full((len(ts), len(symbols)), np.nan)
        panel[name][t, s] = frame[name].to_numpy(np.float64)
    o, h, lo, c, v = (panel[n] for n in ("open", "high", "low", "close", "volume"))
    with np.errstate(invalid="ignore"):
        bad = ~(
            (np.minimum(np.minimum(o, c), lo) > 0)
            & (h >= np.maximum(o, c) * (1 - 1e-6))
            & (lo <= np.minimum(o, c) * (1 + 1e-6))
            & (v >= 0)
        )
    for array in panel.values():
        array[bad] = np.nan
    rows = []
    for k in range(len(symbols)):
        at = np.flatnonzero(~np.isnan(c[:, k]))
        factor = panel["adj_close"][at, k] / c[at, k]
        paid = c[at[:-1], k] * (1 - factor[:-1] / factor[1:])
        rows += [
            (at[i + 1], k, ActionKind.DIVIDEND, paid[i]) for i in np.flatnonzero(paid > 1e-4 * c[at[1:], k])
        ]
    return make_tape(ts, o, h, lo, c, v, np.array(sorted(rows), ACTION_DTYPE))
