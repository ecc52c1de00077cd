"""From the options of `monitor` to a live feed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from config import Settings
from engine.clock import Clock
from engine.counted import counted
from engine.errors import ConfigError
from engine.slab import Universe
from feeds.live import LiveFeed
from scripts.assembly import BacktestRequest, UsageError, day
from scripts.console import note
from scripts.sources import open_feed, wanted_symbols

if TYPE_CHECKING:
    from feeds.yahoo_minutes import YahooMinutes
    from feeds.yahoo_poll import YahooPoll, YahooSettings
    from scripts.live_assembly import MonitorRequest

WARM_UP_DAYS = 730  # without --start: every strategy has its past, a year of sessions


def open_live_feed(request: MonitorRequest, settings: Settings, clock: Clock) -> tuple[LiveFeed, str]:
    """Return the feed of the options, and one line that says what it is."""
    asked = request.history
    if request.interval != "1d" and request.feed != "yahoo":
        raise UsageError(f"--interval goes with --feed yahoo; {request.feed} gives the bars that it has")
    if request.feed == "replay":
        from feeds.replay import ReplayFeed

        history = open_feed(asked, settings)
        return ReplayFeed(history, clock, request.speed), str(getattr(history, "source", "replay"))
    for option, value in (("--data", asked.data), ("--end", asked.end)):
        if value is not None:
            raise UsageError(f"{option} goes with --feed replay; {request.feed} brings its own bars")
    if request.positions is not None and not wanted_symbols(asked):
        raise UsageError(
            "--positions of a live feed need --symbols FILE too: those of the list and any that may join it,"
            " because a store keeps to its symbols"
        )
    if request.feed == "yahoo":
        if request.interval != "1d":
            feed = _yahoo_minutes(asked, settings, clock, request.interval)
            return feed, f"Yahoo's {request.interval} bars, after each of them"
        return _yahoo(asked, settings, clock), "Yahoo's daily bars, after each session"
    if request.feed == "yahoo-stream":
        from feeds.http import checked_base_url
        from feeds.yahoo_stream import YahooStream

        url = settings.data_sources.yahoo_stream_url
        if url is not None:
            checked_base_url(url.replace("ws", "http", 1))  # The same rules: TLS, or this machine
        polled = _yahoo(asked, settings, clock)
        stream = YahooStream(polled, clock, url=url)
        return stream, "Yahoo's stream of trades as daily bars, polled where it has a gap"
    return _zmq(asked, settings, clock)


def _zmq(asked: BacktestRequest, settings: Settings, clock: Clock) -> tuple[LiveFeed, str]:
    from monitors.bar_feed import BarFeed

    bars = settings.monitor
    if bars.bars_address is None:
        raise ConfigError("--feed zmq: set monitor.bars_address to the publisher's tcp://HOST:PORT")
    if bars.bars_address == settings.stream.address:
        raise ConfigError("monitor.bars_address is this monitor's own stream.address; change one of them")
    keys = None
    if bars.bars_key_file is not None:
        from monitors.curve import load_client

        keys = load_client(Path(bars.bars_key_file), Path(bars.bars_server_key or ""))
    feed = BarFeed(_universe(asked), bars.bars_address, clock, keys=keys)
    return feed, f"the bars published at {bars.bars_address}"


def _yahoo(asked: BacktestRequest, settings: Settings, clock: Clock) -> YahooPoll:
    from feeds.yahoo_poll import YahooPoll

    start = day(asked.start, "--start")
    if start is None:
        start = dt.datetime.fromtimestamp(clock.now_ns() / 1e9, dt.UTC).date()
        start -= dt.timedelta(days=WARM_UP_DAYS)
        note(f"no --start: a new store begins with Yahoo's bars from {start} on")
    return YahooPoll(_universe(asked), start, _asking(settings), clock)


def _yahoo_minutes(asked: BacktestRequest, settings: Settings, clock: Clock, interval: str) -> YahooMinutes:
    from feeds.yahoo_minutes import MINUTES, YahooMinutes, first_day

    universe, asking = _universe(asked), _asking(settings)
    batches = -(-len(universe) // asking.politeness.batch)
    if batches * asking.politeness.pause_s > 30.0 * MINUTES[interval]:
        raise UsageError(
            f"--interval {interval}: asking Yahoo about {counted(len(universe), 'symbols')} takes longer than"
            " half of it; name fewer symbols or a longer interval"
        )
    start = day(asked.start, "--start")
    if start is None:
        start = first_day(interval, clock.now_ns())
        note(f"no --start: a new store begins with Yahoo's {interval} bars from {start} on, all it keeps")
    return YahooMinutes(universe, start, asking, clock, interval)


def _asking(settings: Settings) -> YahooSettings:
    from feeds.yahoo import Politeness
    from feeds.yahoo_poll import YahooSettings

    sources = settings.data_sources
    politeness = Politeness(
        batch=sources.yahoo_batch_size,
        attempts=sources.retries + 1,
        wait_s=sources.backoff_seconds,
        wait_max_s=sources.backoff_seconds_max,
        pause_s=sources.yahoo_pause_seconds,
    )
    return YahooSettings(
        Path(settings.storage.price_cache_dir),
        politeness,
        base_url=sources.yahoo_url,
        timeout_s=sources.timeout_seconds,
    )


def _universe(asked: BacktestRequest) -> Universe:
    """Return the symbols asked for with their sectors, and the benchmark, a symbol of its own."""
    symbols = tuple(sorted(wanted_symbols(asked)))
    if not symbols:
        raise UsageError("a live feed needs symbols: --symbol KRYS,HALO or --symbols FILE")
    benchmark = (asked.benchmark or "").strip().upper()
    if ":" in benchmark:
        raise UsageError(f"--benchmark of a live feed is a symbol such as IWM, was {asked.benchmark!r}")
    if asked.sectors is None:
        return Universe(symbols, benchmark=benchmark)
    from feeds.sectors import read_sectors, sectors_of

    found = sectors_of(symbols, read_sectors(asked.sectors))
    return Universe(
        symbols,
        tuple(one.sector for one in found),
        tuple(one.industry for one in found),
        tuple(one.exchange for one in found),
        benchmark,
    )
