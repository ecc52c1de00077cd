"""The same EMA cross in vectorbt and in backtesting.py, as their users would write it. Both are optional.

Each function returns None where its package is not installed, else a function that does the run. The first
call compiles (vectorbt) or imports; it is not the one to time.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from benchmarks.ema_cross import EmaCrossParams
from engine.slab import Bars, Float

SPANS = EmaCrossParams()


class PeerRun(NamedTuple):
    n_fills: int
    final_equity_usd: float


def installed(package: str) -> str | None:
    """Return the version of a package, None without it."""
    return version(package) if importlib.util.find_spec(package) else None


def vectorbt_cross(
    bars: Bars, *, capital_usd: float, notional_usd: float, commission_rate: float
) -> Callable[[], PeerRun] | None:
    """Return a run over the whole panel in one call: a shared account, fills at the next open."""
    if installed("vectorbt") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        import vectorbt as vbt

    close, open_ = pd.DataFrame(bars.close), pd.DataFrame(bars.open)

    def run() -> PeerRun:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fast, slow = (close.vbt.ewm_mean(span, minp=1, adjust=False).to_numpy() for span in SPANS)
            entries, exits = np.zeros((2, *close.shape), bool)
            # Known at a close, done at the next open
            entries[2:] = (fast > slow)[1:-1] & (fast <= slow)[:-2]
            exits[2:] = (fast < slow)[1:-1] & (fast >= slow)[:-2]
            size = np.zeros_like(bars.close)
            size[1:] = np.floor(notional_usd / bars.close[:-1])
            portfolio = vbt.Portfolio.from_signals(
                close, entries, exits, price=open_, size=size, size_type="amount", fees=commission_rate,
                init_cash=capital_usd, cash_sharing=True, group_by=True, freq="1D",
            )  # fmt: skip
            # What the loop hands out: fills, round trips, and cash, positions and equity at each close
            fills, _ = portfolio.orders.records, portfolio.trades.records
            _, _, equity = portfolio.cash(), portfolio.asset_value(), portfolio.value()
            return PeerRun(len(fills), float(equity.iloc[-1]))

    return run


def backtesting_cross(
    bars: Bars, *, capital_usd: float, notional_usd: float, commission_rate: float, n_symbols: int
) -> Callable[[], PeerRun] | None:
    """Return a run over the first `n_symbols` symbols, one after the other: it takes one at a time."""
    if installed("backtesting") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import backtesting
        import pandas as pd
        from backtesting.lib import crossover

    backtesting.backtesting._tqdm = lambda rows, **_: rows
    frames = [
        pd.DataFrame(
            {name: getattr(bars, name.lower())[:, s] for name in ("Open", "High", "Low", "Close", "Volume")},
            index=pd.to_datetime(bars.ts),
        )
        for s in range(n_symbols)
    ]

    def ema(values: Any, span: int) -> Float:
        mean: Float = pd.Series(values).ewm(span=span, adjust=False).mean().to_numpy()
        return mean

    class Cross(backtesting.Strategy):  # type: ignore[misc, unused-ignore]
        def init(self) -> None:
            self.fast = self.I(ema, self.data.Close, SPANS.fast_span)
            self.slow = self.I(ema, self.data.Close, SPANS.slow_span)

        def next(self) -> None:
            if crossover(self.fast, self.slow):
                shares = int(notional_usd // self.data.Close[-1])
                if shares:
                    self.buy(size=shares)
            elif crossover(self.slow, self.fast):
                self.position.close()

    def run() -> PeerRun:
        n_orders, equity = 0, 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for frame in frames:
                test = backtesting.Backtest(frame, Cross, cash=capital_usd, commission=commission_rate)
                stats = test.run()
                n_orders += 2 * len(stats["_trades"])
                equity += stats["Equity Final [$]"]
        return PeerRun(n_orders, equity)

    return run
