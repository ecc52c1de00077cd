"""How a lot ends: the rules a strategy attaches to every lot that it opens.

Strategies say when to buy; these say when to sell again, and the desk evaluates them on held lots only,
at each close on which the symbol traded. What fires at close t is sold at the next open. Averages and
extremes run over the symbol's traded bars.
"""

from __future__ import annotations

from typing import NamedTuple


class ExitRules(NamedTuple):
    """Scalars, so that kernels take them as they are. 0 switches a rule off."""

    sma_bars: int = 0  # close < mean of the last n closes, the newest included
    low_bars: int = 0  # close < lowest low of the n bars before this one
    failed_breakout_bars: int = 0  # close < the signal's pivot within n bars of the entry
    scale_out_gain: float = 0.0  # sell `scale_out_fraction` once when close >= entry x (1 + gain)
    scale_out_fraction: float = 0.25
    take_profit_gain: float = 0.0  # sell when close >= entry x (1 + gain) ...
    quick_gain: float = 0.0  # ... unless this gain came within `quick_bars`: then hold at least
    quick_bars: int = 15
    quick_hold_bars: int = 40  # this many bars first
    max_holding_bars: int = 0  # sell after n bars
    trail_atr_multiple: float = 0.0  # stop = max(stop, highest close since entry - k x Wilder ATR)
    trail_atr_bars: int = 14
    exit_in_bear: int = 0  # 1: sell while the market is bear
    m_gate: int = 0  # entries are refused while one of these `engine.market` bits is set
