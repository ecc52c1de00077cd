"""How much of a result hangs on what is assumed about prices inside a bar."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from brokers.config import DeskConfig, Intrabar

if TYPE_CHECKING:
    from engine.slab import Feed
    from strategies.base import Strategy


def intrabar_spread(
    feed: Feed, strategies: Sequence[Strategy], config: DeskConfig, weights: Sequence[float], slab_rows: int
) -> dict[str, float]:
    """Replay under the best and the worst assumption; return what lies between their final equities.

    "usd" in dollars, "share" of the initial capital. The strategies are started anew.
    """
    ends = {
        policy: _final_equity_usd(feed, strategies, replace(config, intrabar=policy), weights, slab_rows)
        for policy in (Intrabar.WORST, Intrabar.BEST)
    }
    usd = round(ends[Intrabar.BEST] - ends[Intrabar.WORST], 6)
    return {"usd": usd, "share": usd / config.capital_usd}


def _final_equity_usd(
    feed: Feed, strategies: Sequence[Strategy], config: DeskConfig, weights: Sequence[float], slab_rows: int
) -> float:
    from brokers.desk import Desk
    from engine.loop import Loop

    desk = Desk(feed.universe, strategies, config, weights)
    asyncio.run(Loop(feed.universe, strategies, desk).run(feed, slab_rows))
    return float(desk.state()["accounts"]["equity"].sum() / 1e6)
