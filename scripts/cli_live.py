"""Commands about the live monitor, its alerts and its streams."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scripts.app import EXIT_CODES, GLOBALS, Globals, app
from scripts.arguments import split_names
from scripts.options import (
    Benchmark,
    Capital,
    Data,
    End,
    Fundamentals,
    Json,
    Params,
    PriceBasis,
    Sectors,
    Start,
    Strategies,
    StrategyModules,
    Strict,
    Symbols,
    SymbolsFile,
    TradingMode,
)
from scripts.start_signals import starting

MONITOR_CODES = (
    "Besides: 65 the store is damaged (a copy is kept), 74 the disk refused a write, 75 another monitor runs"
    " on this store. SIGTERM and Ctrl-C end it with 0; SIGHUP reads the settings again."
)


class FeedName(StrEnum):
    REPLAY = "replay"
    YAHOO = "yahoo"
    YAHOO_STREAM = "yahoo-stream"
    ZMQ = "zmq"


class Interval(StrEnum):
    MINUTE = "1m"
    MINUTES_5 = "5m"
    MINUTES_15 = "15m"
    HOUR = "1h"
    DAY = "1d"


@app.command(epilog=f"{GLOBALS} {EXIT_CODES} {MONITOR_CODES}")
def monitor(
    context: typer.Context,
    feed: Annotated[
        FeedName,
        typer.Option("--feed", help="Where bars come from. replay: the history of --data, or synthetic."),
    ] = FeedName.REPLAY,
    interval: Annotated[
        Interval, typer.Option("--interval", help="Of the bars of --feed yahoo; only whole bars are given.")
    ] = Interval.DAY,
    speed: Annotated[
        str,
        typer.Option(metavar="X|max", help="Of a replay: multiple of real time; 86400 is a day per second."),
    ] = "max",
    symbol: Symbols = None,
    symbols: SymbolsFile = None,
    data: Data = None,
    sectors: Sectors = None,
    start: Start = None,
    end: End = None,
    strategies: Strategies = None,
    mode: TradingMode = None,
    capital: Capital = None,
    benchmark: Benchmark = None,
    param: Params = None,
    fundamentals: Fundamentals = None,
    strategy_module: StrategyModules = None,
    adjustment: PriceBasis = None,
    positions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="CSV of symbol, shares, cost, sector: watched, not traded."),
    ] = None,
    trade_from: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="First session that is traded; rows before it warm up. Default: of a live feed, what follows"
            " the back-fill; of a replay, all.",
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What the monitor keeps. Default: settings.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the feed has caught up.")] = False,
    replay_journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check that a store's journal is decided again as it was."),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read all that a store keeps and check it.")
    ] = None,
    strict: Strict = False,
    json: Json = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the synthetic market.")] = 7,
) -> int:
    """Watch a portfolio and its signals as bars come in: paper trades, alerts by mail, streams over ZeroMQ.

    Everything is kept in a store: killed at any moment, it goes on where it was. Without options it replays a
    synthetic market as fast as it goes.
    """
    if replay_journal is None and verify is None:  # Ended early, these would say that all is well
        context.with_resource(starting())
    from scripts.assembly import BacktestRequest
    from scripts.live_assembly import MonitorRequest
    from scripts.monitor import run_monitor

    history = BacktestRequest(
        symbols=tuple(split_names(symbol)),
        symbols_file=symbols,
        data=data,
        sectors=sectors,
        start=start,
        end=end,
        strategies=tuple(split_names(strategies)),
        mode=mode.value if mode else None,
        capital=capital,
        benchmark=benchmark,
        params=tuple(param or ()),
        fundamentals=fundamentals,
        strategy_modules=tuple(strategy_module or ()),
        adjustment=adjustment.value if adjustment else None,
        strict=strict,
        json=json,
        seed=seed,
    )
    request = MonitorRequest(
        history=history,
        feed=feed.value,
        speed=_speed(speed),
        positions=positions,
        trade_from=trade_from,
        interval=interval.value,
        store=store,
        replay_journal=replay_journal,
        verify=verify,
        once=once,
        json=json,
    )
    options: Globals = context.obj
    return run_monitor(
        request,
        settings_path=options.settings,
        defaults_path=options.defaults,
        force=options.force,
        verbose=options.verbose,
    )


def _speed(text: str) -> float | None:
    from scripts.assembly import UsageError

    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e9:
        raise UsageError(f"--speed must be a number > 0 or max, was {text!r}")
    return speed


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def halt(
    context: typer.Context,
    resume: Annotated[bool, typer.Option("--resume", help="Clear it: entries go on.")] = False,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of the monitor. Default: settings.")
    ] = None,
) -> int:
    """The kill switch: a monitor buys nothing from its next input on, until a person clears it.

    Exits and stops go on. It holds across restarts, and takes effect at the start of one that is not running.
    """
    from scripts.store import throw_kill_switch

    options: Globals = context.obj
    return throw_kill_switch(store, options.settings, options.defaults, resume=resume)


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def subscribe(
    context: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            metavar="PREFIX",
            help="bar.SYMBOL, signal.STRATEGY.SYMBOL, order.SYMBOL, fill.SYMBOL, equity, alert.RULE,"
            " or the beginning of one; may be repeated. Default: everything.",
        ),
    ] = None,
    since: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEQ", help="Begin after this number; 0: with the oldest kept."),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Begin with the newest batch of each kind.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="Of the publisher. Default: settings.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Own key, NAME.key_secret (see: keys).")
    ] = None,
    server_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The publisher's public key, NAME.key.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after this many messages.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append the JSON lines to a file instead.")
    ] = None,
) -> int:
    """Print the live stream: signals, orders, fills, alerts, equity and bars. Ctrl-C ends it.

    Nothing is passed over: what was missed is asked for, and what cannot be had any more is told.
    """
    from scripts.subscribe import SubscribeRequest, run_subscribe

    options: Globals = context.obj
    request = SubscribeRequest(
        topics=tuple(topic or ("",)),
        since=since,
        snapshot=snapshot,
        address=address,
        key=key,
        server_key=server_key,
        count=count,
        json=json,
        output=output,
    )
    return run_subscribe(
        request, settings_path=options.settings, defaults_path=options.defaults, force=options.force
    )


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def keys(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose keys: publisher, or a client's name.")],
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Default: keys in storage.data_dir.")
    ] = None,
) -> int:
    """Make a pair of keys for the stream: NAME.key is public, NAME.key_secret stays with its owner."""
    from scripts.subscribe import run_keys

    options: Globals = context.obj
    return run_keys(
        name,
        directory,
        settings_path=options.settings,
        defaults_path=options.defaults,
        force=options.force,
    )
