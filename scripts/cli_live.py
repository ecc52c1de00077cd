"""Commands about the live monitor, its alerts and its streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scripts.app import EXIT_CODES, GLOBALS, Globals, app


@app.command(epilog=f"{GLOBALS} {EXIT_CODES}")
def subscribe(
    context: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            metavar="PREFIX",
            help="bar.SYMBOL, signal.STRATEGY.SYMBOL, order.SYMBOL, fill.SYMBOL, equity, alert.RULE,"
            " or the beginning of one. Default: everything.",
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
