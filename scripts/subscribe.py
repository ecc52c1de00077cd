"""The commands `subscribe` and `keys`: the stream as lines, and the keys that it may need."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec

from config.loader import load_settings
from engine.counted import counted
from engine.errors import ConfigError
from monitors import bodies
from monitors.curve import ClientKeys, load_client, make_keys
from monitors.subscriber import Notice, Subscriber
from monitors.wire import Message
from scripts.console import note, one_line
from scripts.entry import INTERRUPTED
from scripts.interrupts import run_interruptible


class SubscribeRequest(NamedTuple):
    """What `subscribe` was asked for."""

    topics: tuple[str, ...]
    since: int | None
    snapshot: bool
    address: str | None
    key: Path | None
    server_key: Path | None
    count: int | None  # type: ignore[assignment]  # nobody counts in this tuple
    json: bool
    output: Path | None


def run_subscribe(
    request: SubscribeRequest, *, settings_path: Path | None, defaults_path: Path | None, force: bool
) -> int:
    """Write the stream until it is interrupted or the count is reached. Returns the exit code."""
    settings = load_settings(settings_path, defaults_path, force=force)
    address = request.address or settings.stream.address
    if address is None:
        raise ConfigError("stream.address is null: name the publisher with --address tcp://HOST:PORT")
    subscriber = Subscriber(
        address,
        request.topics,
        since=request.since,
        snapshot=request.snapshot,
        keys=_keys(request),
        lag_max=None,
        stop_at_gap=False,
        on_notice=_print_notice,
    )
    try:
        run_interruptible(_follow(subscriber, request))
    except KeyboardInterrupt:
        heard = subscriber.position or request.since is not None
        note(
            f"interrupted; to go on: --since {subscriber.position}" if heard else "interrupted; nothing came"
        )
        return INTERRUPTED
    except BrokenPipeError:  # Who reads the pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run_keys(
    name: str, directory: Path | None, *, settings_path: Path | None, defaults_path: Path | None, force: bool
) -> int:
    """Make a pair of keys and say what they are for. Returns the exit code."""
    if directory is None:
        directory = Path(load_settings(settings_path, defaults_path, force=force).storage.data_dir) / "keys"
    public, secret = make_keys(directory, name)
    print(f"{public}: public. A client's goes to the publisher (stream.clients_dir);")
    print("  the publisher's goes to the clients (--server-key).")
    print(f"{secret}: secret. A client names it with --key,")
    print("  the publisher in stream.key_file.")
    return 0


def _keys(request: SubscribeRequest) -> ClientKeys | None:
    if request.key is None and request.server_key is None:
        return None
    if request.key is None or request.server_key is None:
        raise ConfigError("--key and --server-key go together")
    return load_client(request.key, request.server_key)


async def _follow(subscriber: Subscriber, request: SubscribeRequest) -> None:
    as_text = as_json if request.json or request.output is not None else as_line
    with nullcontext(sys.stdout) if request.output is None else _appending(request.output) as file:
        n_written = 0
        async for message in subscriber:
            print(as_text(message), file=file, flush=True)
            n_written += 1
            if n_written == request.count:
                return


def _appending(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {path}: {error.strerror}") from None


def _print_notice(notice: Notice) -> None:
    note(f"{notice.kind}: {one_line(notice.text)}")


def as_json(message: Message) -> str:
    """Return a message as one line of JSON: the envelope, the topic, the time as text too, and the body."""
    envelope = msgspec.to_builtins(message)
    body = envelope.pop("body")
    extra = {"ts": _utc(message.ts_ns), "topic": message.topic}
    return msgspec.json.encode({**envelope, **extra, "body": body}).decode()


def as_line(message: Message) -> str:
    """Return a message as one line for a person."""
    head = f"{message.seq:>8} {_utc(message.ts_ns)[:16].replace('T', ' ')} {message.family:<6}"
    return f"{head} {one_line(_told(message.body))}"


def _told(body: bodies.AnyBody) -> str:
    match body:
        case bodies.Signal():
            level = "" if body.price_ref is None else f" at {body.price_ref:,.2f}"
            stop = "" if body.structure_stop is None else f", stop {body.structure_stop:,.2f}"
            sure = "" if body.confidence is None else f", confidence {body.confidence:.2f}"
            return f"{body.side} {body.symbol}{level}{stop}{sure} ({body.strategy})"
        case bodies.Order():
            end = "" if body.end_reason == "none" else f": {body.end_reason}"
            return f"{body.side} {body.quantity:,} {body.symbol} {body.status}{end} ({body.reason})"
        case bodies.Fill():
            return f"{body.side} {body.quantity:,} {body.symbol} at {body.price:,.2f} ({body.reason})"
        case bodies.Equity():
            total = sum(account.equity_micro for account in body.accounts) / 1e6
            return f"{total:,.2f}, {counted(len(body.positions), 'positions')}"
        case bodies.Alert():
            value = "not known" if body.value is None else f"{body.value:.4g}"
            limit = "" if body.threshold is None else f" against {body.threshold:.4g}"
            return f"{body.severity} {body.rule} {body.label}: {body.subject} {value}{limit} ({body.unit})"
        case bodies.Bar():
            return f"{body.symbol} {body.close:,.2f}, volume {body.volume:,.0f}"


def _utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).isoformat()
