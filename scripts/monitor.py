"""The `monitor` command: open the store, recover, and run the daemon until it is stopped or the feed ends."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from config import Settings, load_settings
from engine.clock import Clock, SystemClock
from engine.counted import counted
from engine.errors import DataError
from engine.jit import source_hash
from feeds.live import LiveFeed
from monitors import heartbeat, outbox, stream_log
from monitors.core import LiveCore
from monitors.daemon import Daemon, Parts
from monitors.file_watch import watch
from monitors.health import Health
from monitors.inputs import OF_BARS, Plan, Start
from monitors.log import secrets_of, start_console_log, start_json_log
from monitors.notify import ServiceManager
from monitors.relay import Daily, Relay
from monitors.smtp import probe, was_cancelled
from monitors.writer import SCHEMA, Taken, Writer
from scripts import tables
from scripts.assembly import UsageError
from scripts.console import prints_beside_results
from scripts.journal_replay import replay_journal
from scripts.live_assembly import MonitorRequest, assemble, make_plan, warm_up
from scripts.live_feeds import open_live_feed
from scripts.progress import compiled_kernels, telling_of_compilation
from scripts.start_signals import started
from scripts.store import store_dir
from scripts.store_verify import verify_store
from storage.found import read_only
from storage.journal import JournalDamaged
from storage.live import open_store

if TYPE_CHECKING:
    from monitors.curve import ServerKeys

HALT_LOOK_S = 0.02  # between two looks whether the kill switch is on the disk
AT_START = ("monitor", "stream", "data_sources", "storage")  # sections that a reload leaves as they are
RELAY_STEP_TIMEOUTS = 10  # mails that one step may send one after the other, each at its slowest


def run_monitor(
    request: MonitorRequest,
    *,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
    verbose: bool = False,
) -> int:
    """Run the command and return its exit code."""
    began_s = time.perf_counter()
    if request.replay_journal is not None:
        return replay_journal(request.replay_journal, json=request.json)
    if request.verify is not None:
        return verify_store(request.verify, json=request.json)
    if request.speed is not None and request.feed != "replay":
        raise UsageError("--speed goes with --feed replay; a live feed has the speed of the market")
    settings = load_settings(settings_path, defaults_path, force=force)
    if sys.stderr.isatty():
        redaction = start_console_log(secrets_of(settings), verbose=verbose)
    else:
        redaction = start_json_log(secrets_of(settings), verbose=verbose)
    clock = SystemClock()
    # What is read is read first: a mistake in it leaves no store behind, and waits for no compiler
    feed, source = open_live_feed(request, settings, clock)
    with prints_beside_results():
        plan = make_plan(request, settings, feed.universe)
    keys = _checked_doors(settings)
    known = compiled_kernels()
    store = open_store(store_dir(settings, request.store), SCHEMA)
    halts: deque[str] = deque()
    before = signal.signal(signal.SIGUSR1, lambda *_: halts.append("signal SIGUSR1"))
    for what in store.passed_over:
        structlog.get_logger("store").error("a snapshot is passed over, the start takes longer", damage=what)
    try:
        writer = Writer(
            store, LiveCore(assemble), snapshot_inputs=settings.monitor.snapshot_inputs,
            rows_kept=settings.monitor.journal_rows_kept,
        )  # fmt: skip
        with telling_of_compilation(known), prints_beside_results():
            warm_up(plan, first=known == 0)
            n_recovered = writer.recover()
        plan = _as_begun(writer, plan)
        process = Process(settings, writer, clock, began_s, halts, keys)

        def reload() -> Plan:
            process.new_settings = new = load_settings(settings_path, defaults_path, force=True)
            redaction.add(secrets_of(new))
            _checked_doors(new)  # Though they open at the next start: it must not fail in the night
            as_named = msgspec.structs.replace(new, monitor=settings.monitor)
            return _as_begun(writer, make_plan(request, as_named, feed.universe))

        with prints_beside_results():
            asyncio.run(
                process.run(feed, plan, source, reload=reload, once=request.once, positions=request.positions)
            )
        process.report(source, n_recovered, json=request.json)
    except JournalDamaged as error:
        raise store.damaged(str(error)) from error
    finally:
        signal.signal(signal.SIGUSR1, before or signal.SIG_DFL)
        store.close()
    return 0


def _checked_doors(settings: Settings) -> ServerKeys | None:
    """Check the addresses that the settings open; return the stream's keys, None: not encrypted."""
    from monitors.curve import load_server, require_protection
    from monitors.http import checked_address

    stream, monitor, keys = settings.stream, settings.monitor, None
    if monitor.http_address is not None:
        checked_address(monitor.http_address, public=monitor.http_public)
    if stream.address is not None:
        if stream.key_file is not None:
            keys = load_server(Path(stream.key_file), Path(stream.clients_dir or ""))
        require_protection(stream.address, keys)
    return keys


class Process:
    """The daemon with all that hangs off it, as the settings want it."""

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        clock: Clock,
        began_s: float,
        halts: deque[str] | None = None,  # who wants all entries stopped: a signal handler adds to it
        keys: ServerKeys | None = None,  # of the stream; None: it is not encrypted
    ) -> None:
        self._settings = self.new_settings = settings
        self._writer = writer
        self._clock = clock
        self._began_s = began_s
        self._halts = halts
        self._keys = keys
        self._health = Health(clock, settings.monitor.feed_dead_seconds)
        self._publisher: Any = None
        self._relay: Relay | None = None
        self._unreachable = ""  # why the mail server could not be reached, when it was last tried
        self._reason = ""
        self._ready_s = 0.0
        self._first_row_s: float | None = None

    async def run(
        self,
        feed: LiveFeed,
        plan: Plan,
        source: str,
        *,
        reload: Any,
        once: bool,
        positions: Path | None = None,
    ) -> None:
        """Run the daemon to its end. positions: a file that is read again when it changes."""
        parts = Parts(wake_relay=asyncio.Event(), committed=[self._on_commit], reloaded=self._on_reload)
        async with AsyncExitStack() as stack:
            await self._start_publisher(parts, stack)
            self._start_relay(parts, replayed=plan.time == OF_BARS)
            beat_path = self._writer.store.directory / heartbeat.FILE
            parts.off_path["heartbeat"] = lambda: heartbeat.keep_alive(
                beat_path, self._clock, self._heartbeat
            )
            parts.off_path["mail probe"] = self._probe_mail
            daemon = Daemon(
                self._writer, feed, plan, Start(source_hash(), source), self._clock, self._health,
                ServiceManager(os.environ),
                queue_rows=self._settings.monitor.queue_rows,
                tick_s=self._settings.monitor.tick_seconds,
                parts=parts,
                reload=reload,
                once=once,
                halts=self._halts,
            )  # fmt: skip
            if positions is not None:
                parts.off_path["positions file"] = lambda: watch(positions, self._clock, daemon.reload)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, daemon.stop, signal.Signals(number).name)
            loop.add_signal_handler(signal.SIGHUP, daemon.reload)
            started()
            await self._start_http(stack, daemon)
            self._ready_s = time.perf_counter() - self._began_s
            gc.collect()
            gc.freeze()  # What is there by now stays: no collection looks through it again
            self._reason = await daemon.run()

    async def _start_publisher(self, parts: Parts, stack: AsyncExitStack) -> None:
        stream = self._settings.stream
        if stream.address is None:
            return
        from monitors.publisher import Publisher

        store = self._writer.store
        with store.transaction() as connection:
            identity = stream_log.open_epoch(connection, new_stream=os.urandom(8).hex())
        reading = stack.enter_context(read_only(store.directory))
        publisher = Publisher(
            stream.address,
            stream.replay_port,
            reading,
            identity,
            self._writer.bars_of,
            self._clock,
            self._keys,
        )
        self._publisher = parts.publisher = await stack.enter_async_context(publisher)
        parts.off_path["publisher"] = publisher.run

    def _start_relay(self, parts: Parts, *, replayed: bool) -> None:
        assert parts.wake_relay is not None
        store, log = self._writer.store, structlog.get_logger("mail")

        def tell(severity: str, text: str) -> None:
            (log.critical if severity == "critical" else log.warning)(text)

        relay = self._relay = _WatchedRelay(
            self._health,
            store.transaction,
            self._settings.email,
            portfolio=self._settings.monitor.portfolio,
            clock=self._clock,
            tell=tell,
            wake=parts.wake_relay,
            footer=lambda: f"journal row {store.head.seq} {store.head.hash.hex()[:16]}",
            daily=self._daily_word,
            replayed=replayed,
        )
        parts.off_path["relay"] = relay.run
        parts.unsent, parts.feed_ended = self._has_mail_to_send, relay.hurry

    def _daily_word(self) -> Daily:
        core, store, settings = self._writer.core, self._writer.store, self._settings
        _, equity = core.machine.book.money_micro()
        return heartbeat.daily_report(
            heartbeat.Report(
                portfolio=settings.monitor.portfolio,
                session=core.session,
                ts_ns=self._health.ts_ns,
                equity_usd=math.nan if equity is None else equity / 1e6,
                drawdown=core.machine.monitors.drawdown.value,
                listing=core.machine.monitors.listing,
                journal_seq=store.head.seq,
                journal_hash=store.head.hash.hex(),
                n_dead_letters=outbox.stats(store.connection).dead,
                problems=self._problems(),
            )
        )

    def _heartbeat(self) -> heartbeat.Heartbeat:
        head = self._writer.store.head
        return heartbeat.Heartbeat(
            ts_ns=self._clock.now_ns(), journal_seq=head.seq, journal_hash=head.hash.hex(),
            interval_s=self._settings.monitor.heartbeat_seconds, problems=tuple(self._problems()),
        )  # fmt: skip

    async def _probe_mail(self) -> None:
        """Try the mail server while there is nothing to send: silence must not look like calm."""
        assert self._relay is not None
        while not was_cancelled():
            email = self._relay.email
            failure = await probe(email) if email.enabled else None
            self._unreachable = "" if failure is None else f"no mail could be sent: {failure.reason}"
            if not was_cancelled():
                await self._clock.sleep(self._settings.monitor.heartbeat_seconds)
        raise asyncio.CancelledError

    def _problems(self) -> list[str]:
        """Return what somebody outside should know."""
        found = [*self._health.problems(), *(one.detail for one in self._health.conditions())]
        if self._unreachable and not self._health.mail_trouble:
            found.append(self._unreachable)
        feed, detail = self._writer.core.feed
        if feed != "connected":
            found.append(f"feed {feed}: {detail}")
        return found

    def _has_mail_to_send(self) -> bool:
        assert self._relay is not None
        if not self._relay.email.enabled or self._relay.status.failing_since_ns is not None:
            return False
        stats = outbox.stats(self._writer.store.connection)
        return stats.waiting + stats.open > 0

    async def _start_http(self, stack: AsyncExitStack, daemon: Daemon) -> None:
        monitor = self._settings.monitor
        if monitor.http_address is None:
            return
        from monitors.http import HttpServer
        from monitors.routes import Door, Routes

        async def halt(by: str) -> None:
            daemon.halt(by)
            while not daemon.halted:
                await asyncio.sleep(HALT_LOOK_S)

        door = Door(halt, monitor.http_token, monitor.http_public)
        routes = Routes(self._health, self._gauges, door)
        server = HttpServer(monitor.http_address, routes.answer, public=monitor.http_public)
        await server.start()
        stack.push_async_callback(server.stop)

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        """Yield what the parts measure: name, meaning, value."""
        if self._publisher is not None:
            stats = self._publisher.stats()
            yield "stream_peers", "subscribers connected", float(stats.peers)
            yield "stream_missed", "messages that subscribers said they had missed", float(stats.missed)
            yield "stream_replayed", "messages sent again on request", float(stats.replayed)
        waiting = outbox.stats(self._writer.store.connection)
        yield "outbox_depth", "alerts and deliveries that wait", float(waiting.waiting + waiting.open)
        yield "outbox_dead", "deliveries given up", float(waiting.dead)
        age_s = 0.0 if waiting.oldest_ns is None else (self._clock.now_ns() - waiting.oldest_ns) / 1e9
        yield "outbox_age_seconds", "since the oldest of them was detected", age_s

    def _on_reload(self) -> None:
        """Let what hangs off the path go by the new settings, all of it or nothing. Raises ConfigError."""
        if self._publisher is not None:
            self._publisher.reload_clients()
        if self._relay is not None:
            self._relay.email = self.new_settings.email
        later = [one for one in AT_START if getattr(self.new_settings, one) != getattr(self._settings, one)]
        if later:
            log = structlog.get_logger("monitor")
            log.warning("changed settings that are read at a start alone", sections=later)

    def _on_commit(self, taken: Taken) -> None:
        if self._first_row_s is None and self._health.counts["rows"]:
            self._first_row_s = time.perf_counter() - self._began_s

    def report(self, source: str, n_recovered: int, *, json: bool) -> None:
        """Print what was done."""
        counts, store = self._health.counts, self._writer.store
        seconds = time.perf_counter() - self._began_s
        if json:
            from reports.manifest import to_json

            outcome = {
                "source": source,
                "store": str(store.directory),
                "ended": self._reason,
                "journal_seq": store.head.seq,
                "journal_hash": store.head.hash.hex(),
                "recovered_rows": n_recovered,
                "counts": dict(sorted(counts.items())),
                "seconds": {
                    "to_ready": round(self._ready_s, 4),
                    "to_first_row": self._first_row_s and round(self._first_row_s, 4),
                    "total": round(seconds, 4),
                },
            }
            print(to_json(outcome, indent=None), end="")
            return
        tables.print_line(source)
        if counts["rows"]:
            told = ("signals", "orders", "fills", "rejections", "alerts")
            numbers = ", ".join(counted(counts[name], name) for name in told)
            tables.print_line(f"{counted(counts['rows'], 'rows')}: {numbers}")
        else:
            tables.print_line("no new row: the store has them all (another --store begins anew)")
        tables.print_line(f"ended: {self._reason}; {seconds:.1f} s; store {store.directory}")


class _WatchedRelay(Relay):
    """A relay whose silence the watchdog notices, and whose trouble is an alert with the next input.

    One step sends a few mails, each within its deadline.
    """

    def __init__(self, health: Health, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._health = health

    async def step(self) -> float:
        limit_s = RELAY_STEP_TIMEOUTS * self.email.timeout_seconds
        self._health.stuck["relay"] = self._health.clock.monotonic_s() + limit_s
        try:
            return await super().step()
        finally:
            del self._health.stuck["relay"]
            self._health.mail_trouble = self.status.reason if self.status.failing_since_ns else ""


def _as_begun(writer: Writer, plan: Plan) -> Plan:
    """Return the plan with which the store goes on.

    Raises DataError, in the user's words, when it is of another universe or kind, of other bars or of
    another time: the machine's clock and that of history are never mixed in one.
    """
    running = writer.core.plan
    if running is not None and (running.positions is None) != (plan.positions is None):
        was = "trades on paper" if running.positions is None else "watches positions (--positions)"
        raise DataError(f"{writer.store.directory}: {was}; use another --store, or start it as it was")
    if running is not None and running.interval != plan.interval:
        raise DataError(
            f"{writer.store.directory}: was begun with {running.interval} bars, now {plan.interval};"
            " use another --store"
        )
    if running is not None and running.symbols != plan.symbols:
        raise DataError(
            f"{writer.store.directory}: was begun with other symbols ({len(running.symbols):,}, now"
            f" {len(plan.symbols):,}); use another --store"
        )
    if running is not None and not running.time:  # Begun before there was a choice
        return msgspec.structs.replace(plan, time="")
    if running is not None and running.time != plan.time:
        begun = "replay" if running.time == OF_BARS else "live feed"
        raise DataError(
            f"{writer.store.directory}: was begun by a {begun}, and alerts go by another time there;"
            f" use another --store, or go on with a {begun}"
        )
    return plan
