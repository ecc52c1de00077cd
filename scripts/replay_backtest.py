"""A backtest in a few lines of Python: the worked example for scripts and notebooks.

    python -m scripts.replay_backtest [OUTPUT_DIR]

Feed, strategies, desk and loop are plain objects; a recorder listens to what the loop publishes. Replace
the feed by `feeds.source.open_source("prices.parquet", ...)`, or a strategy by one of your own, and the
rest stays as it is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from brokers.config import DeskConfig
from brokers.desk import Desk
from engine.events import Fills
from engine.loop import Loop
from feeds.synthetic import SyntheticMarket
from reports.artefacts import write_run
from reports.performance import summarise
from reports.recorder import Recorder
from strategies import registry


async def replay(output_dir: Path | None = None, *, n_symbols: int = 60, years: int = 3) -> Recorder:
    """Replay two strategies over a made-up market; print their figures and write the files."""
    feed = SyntheticMarket(seed=7, n_symbols=n_symbols, years=years)
    strategies = [registry.create("trend", fast_span=12), registry.create("livermore")]
    desk = Desk(feed.universe, strategies, DeskConfig(capital_usd=250_000.0), weights=[0.6, 0.4])
    loop = Loop(feed.universe, strategies, desk)
    recorder = Recorder.attached_to(loop)

    fees_usd = 0.0

    def add_fees(fills: Fills) -> None:  # Anything may listen: inline, in order, before the next slab
        nonlocal fees_usd
        fees_usd += fills.rows["fee_micro"].sum() / 1e6

    loop.bus.subscribe(Fills, add_fees)
    await loop.run(feed)

    summary = summarise(
        recorder.equity(), recorder.accounts, recorder.capital_usd, recorder.benchmark_close()
    )
    for name, figures in summary.account_rows().items():
        print(f"{name:20s} {figures.final_equity:12,.2f} {figures.total_return:8.2%}")
    print(f"{loop.counters.bars:,} bars, {recorder.counts()['trades']} trades, fees {fees_usd:,.2f}")
    if output_dir is not None:
        write_run(output_dir, recorder, summary, {})
    return recorder


if __name__ == "__main__":
    asyncio.run(replay(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
