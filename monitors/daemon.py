"""The live monitor as a process: tasks around one writer, on one event loop.

    feed ---> queue (bounded; the feed waits) ---> writer ---> publisher, relay
    commands, ticks, reloads ------------------------^

1. Only the writer takes inputs, one after the other; no decision depends on which task woke first.
2. Commands are taken before the next row: the kill switch acts on the very next input, thrown by a command, a
   file, a signal or over HTTP.
3. A task off the path (relay, publisher, HTTP) that fails is started again and told of; it cannot stop the
   writer. What cannot be stored ends the process.
4. Being stopped is a kindness: everything is also right after SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from config import SettingsError
from engine.clock import Clock
from engine.errors import DataError, SmallcapError
from engine.events import Batch
from engine.garbage import uncollected
from feeds.live import FeedEvent, FeedStatus, LiveFeed, LiveRow
from monitors.health import Health, JumpDetector
from monitors.inputs import Input, Plan, Readings, Start, Stop, Tick, same_plan
from monitors.notify import ServiceManager
from monitors.stream_log import StreamRow
from monitors.writer import Taken, Writer
from storage import commands
from storage.commands import Command
from storage.journal import JournalDamaged
from storage.live import StoreFailed

LOOK_S = 0.5  # between two looks for commands while nothing comes
LAG_EVERY_S = 0.25
DRAIN_S = 2.0  # for what is queued when asked to stop
MAIL_S = 60.0  # for the last mails of a feed that ended
RETRY_S, RETRY_MAX_S = 1.0, 60.0  # of a failed task off the path

log: Any = structlog.get_logger("monitor")


class StreamPublisher(Protocol):
    """What the daemon needs of `monitors.publisher.Publisher`."""

    def publish(self, rows: Sequence[StreamRow]) -> None: ...


@dataclass
class Parts:
    """What hangs off the writer. Everything here may be missing."""

    publisher: StreamPublisher | None = None
    off_path: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)  # run until cancelled
    committed: list[Callable[[Taken], None]] = field(default_factory=list)  # told of every commit
    wake_relay: asyncio.Event | None = None
    unsent: Callable[[], bool] | None = None  # whether mail waits that could go out now
    feed_ended: Callable[[], None] | None = None  # told before that mail is waited for
    reloaded: Callable[[], None] | None = None  # a new configuration, or raises SmallcapError


class Daemon:
    """Runs until the feed ends, or it is asked to stop.

    Args:
        plan: what to run. A store that runs another plan changes to it, if its state can go on under it.
        reload: reads the configuration again; raises SmallcapError for a bad one.
        once: end when the feed has caught up.
        halts: who wants all entries stopped; whoever adds to it throws the kill switch.
    """

    def __init__(
        self,
        writer: Writer,
        feed: LiveFeed,
        plan: Plan,
        start: Start,
        clock: Clock,
        health: Health,
        manager: ServiceManager,
        *,
        queue_rows: int,
        tick_s: float,
        parts: Parts | None = None,
        reload: Callable[[], Plan] | None = None,
        once: bool = False,
        halts: deque[str] | None = None,
    ) -> None:
        self._writer = writer
        self._feed = feed
        self._plan = plan
        self._start = start
        self._clock = clock
        self._health = health
        self._manager = manager
        self._tick_s = tick_s
        self._parts = parts or Parts()
        self._read_plan = reload
        self._once = once
        self._queue: asyncio.Queue[FeedEvent] = asyncio.Queue(queue_rows)
        self._stop = asyncio.Event()
        self._stop_reason = ""
        self._asked = False  # to stop; a feed may also end
        self._reload_wanted = False
        self._halts: deque[str] = deque() if halts is None else halts
        self._jumps = JumpDetector(clock)
        self._lag_worst_s = 0.0

    def stop(self, reason: str) -> None:
        """Ask the daemon to end: what is queued is taken, what is committed is sent."""
        self._asked = True
        self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._stop.is_set():
            self._stop_reason = reason
            self._health.stopping = True
            self._stop.set()

    def halt(self, by: str) -> None:
        """Ask the daemon to stop all entries before it takes another row."""
        self._halts.append(by)

    @property
    def halted(self) -> bool:
        """Whether entries are stopped, and that is on the disk."""
        return self._writer.core.killed

    def reload(self) -> None:
        """Ask the daemon to read its configuration again."""
        self._reload_wanted = True

    async def run(self) -> str:
        """Begin, work, end; return why it ended. Raises what a task on the path raised."""
        self._begin()
        async with _tasks() as group:
            off_path = [
                group.create_task(self._supervised(name, work), name=name)
                for name, work in self._parts.off_path.items()
            ]
            watching = [group.create_task(work()) for work in (self._measure_lag, self._keep_watch)]
            feeding = group.create_task(self._feed_queue())
            self._health.ready = True
            self._manager.say("READY=1", "STATUS=taking inputs")
            await self._write()
            self._manager.say("STOPPING=1")
            feeding.cancel()
            self._take(Stop(self._stop_reason))
            if not self._asked:
                await self._mail_what_waits()
            for task in (*off_path, *watching):
                task.cancel()
        return self._stop_reason

    def _begin(self) -> None:
        """Take the start and, if it is new, the plan."""
        core = self._writer.core
        if core.plan is None:
            self._take(self._plan)
        elif not same_plan(core.plan, self._plan):
            core.can_change_to(self._plan)
            self._take(self._plan)
        self._take(self._start)

    async def _write(self) -> None:
        """Take inputs in order until asked to stop, then what is queued."""
        last_tick_s = self._clock.monotonic_s()
        while not self._stop.is_set():
            if self._reload_wanted:
                self._take_reload()
            if self._clock.monotonic_s() - last_tick_s >= self._tick_s:
                last_tick_s = self._clock.monotonic_s()
                self._take(Tick())
            event = await self._next()
            self._take_commands()  # Given while we waited: the kill switch comes before this row
            if event is not None:
                self._take_event(event)
                await asyncio.sleep(0)  # The others get their turn
        deadline_s = self._clock.monotonic_s() + DRAIN_S
        while not self._queue.empty() and self._clock.monotonic_s() < deadline_s:
            self._take_commands()
            self._take_event(self._queue.get_nowait())

    async def _next(self) -> FeedEvent | None:
        """Return the next event of the feed; None when there is something else to look at."""
        if not self._queue.empty():
            return self._queue.get_nowait()
        self._writer.store.maintain(idle=True)
        waiting = asyncio.ensure_future(self._queue.get())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((waiting, stopping), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            stopping.cancel()

    def _take_event(self, event: FeedEvent) -> None:
        if isinstance(event, FeedStatus):
            log.info("feed", kind=event.kind, symbol=event.symbol, detail=event.detail)
            if event.kind == "end":  # Decides nothing, and is said again at every start
                self._end("the feed has ended")
                return
            if self._once and event.kind == "connected":
                self._end("the feed has caught up")
        self._take(event)
        self._writer.store.maintain(idle=False)

    def _take_commands(self) -> None:
        directory = self._writer.store.directory
        for path in self._waiting_commands():
            try:
                command = commands.load(path)
            except DataError as error:
                log.error("command refused", error=str(error))
                path.rename(path.with_suffix(".refused"))
                continue
            self._take(command)
            log.warning("command", name=command.name, by=command.by, arguments=command.arguments)
            commands.remove(path)
        if not self.halted and commands.is_halted(directory):
            self.halt(f"the file {commands.HALT}")
        while self._halts:
            by = self._halts.popleft()
            if not self.halted:
                now_ns = self._clock.now_ns()
                self._take(Command(f"{now_ns:020d}-halt", "halt", now_ns, by))
                log.critical("entries stopped", by=by)

    def _waiting_commands(self) -> list[Path]:
        """Return the files of commands; in a folder that cannot be used they wait, which is an alert."""
        failing = self._health.failing
        try:
            found = commands.waiting(self._writer.store.directory)
        except OSError as error:
            if "commands" not in failing:
                failing["commands"] = f"not taken, the folder cannot be used: {error}"
                log.error("commands cannot be taken", error=str(error))
                self._take(Tick())  # The alert need not wait for the next minute
            return []
        failing.pop("commands", None)
        return found

    def _take_reload(self) -> None:
        """Change to the plan of the configuration as it is now; keep the old one when that is impossible."""
        self._reload_wanted = False
        if self._read_plan is None:
            return
        self._manager.say("RELOADING=1")
        try:
            plan = self._read_plan()
            self._writer.core.can_change_to(plan)
            if self._parts.reloaded is not None:
                self._parts.reloaded()
        except (SmallcapError, SettingsError) as error:
            self._health.failing["configuration"] = f"refused, the old one stays in force: {error}"
            log.error("configuration refused", error=str(error))
            self._take(Tick())  # The alert need not wait for the next minute
        else:
            self._health.failing.pop("configuration", None)
            if not same_plan(plan, self._writer.core.plan):
                self._take(plan)
            log.warning("configuration read again")
        self._manager.say("READY=1")

    def _take(self, given: Input) -> None:
        """Commit one input, then send what may be sent."""
        began_s = self._clock.monotonic_s()
        readings = Readings(
            self._clock.now_ns(),
            self._health.feed_age_s,
            round(self._lag_worst_s * 1e3, 3),
            (*self._jumps.conditions(), *self._health.conditions()),
        )
        self._lag_worst_s = 0.0
        with uncollected():
            publisher = self._parts.publisher
            taken = self._writer.take(given, readings, publisher.publish if publisher is not None else None)
        if self._parts.wake_relay is not None and taken.outcome.transitions:
            self._parts.wake_relay.set()
        self._health.commit_s = self._clock.monotonic_s() - began_s
        self._count(taken)
        for listener in self._parts.committed:
            listener(taken)

    def _count(self, taken: Taken) -> None:
        health = self._health
        health.journal_seq = self._writer.store.head.seq
        counts = health.counts
        counts["inputs"] += 1
        counts["alerts"] += len(taken.outcome.transitions)
        for event in taken.outcome.events:
            if isinstance(event, Batch):
                counts[type(event).__name__.lower()] += len(event.rows)
        for row in taken.rows:
            counts["stream_messages"] += row.count
            if row.family == "bar":
                counts["bars"] += row.count
        if isinstance(taken.given, LiveRow):
            counts["rows"] += 1
            health.ts_ns = int(taken.given.bars.ts[0])
        elif isinstance(taken.given, FeedStatus):
            counts[f"feed_{taken.given.kind}"] += 1
        for transition in taken.outcome.transitions:
            log.warning(
                "alert",
                key=transition.notif_key,
                rule=transition.rule,
                subject=transition.subject,
                severity=transition.severity,
                value=transition.value,
                threshold=transition.threshold,
            )

    async def _feed_queue(self) -> None:
        """Hand the feed's events to the writer; a full queue makes the feed wait."""
        async for event in self._feed.events(self._writer.core.last_ts_ns):
            self._health.feed_heard_s = self._clock.monotonic_s()
            await self._queue.put(event)

    async def _measure_lag(self) -> None:
        while True:
            before_s = self._clock.monotonic_s()
            await self._clock.sleep(LAG_EVERY_S)
            self._health.lag_s = max(0.0, self._clock.monotonic_s() - before_s - LAG_EVERY_S)
            self._health.lags_s.append(self._health.lag_s)
            self._lag_worst_s = max(self._lag_worst_s, self._health.lag_s)
            self._health.feed_alive_s = self._feed.alive_s

    async def _keep_watch(self) -> None:
        """Tell the service manager that all is well, as long as it is."""
        if self._manager.watchdog_s is None:
            return
        while True:
            problems = self._health.problems()
            if not problems:
                self._manager.say("WATCHDOG=1")
            else:
                log.error("unhealthy", problems=problems)
            await self._clock.sleep(min(self._manager.watchdog_s / 2, 5.0))

    async def _supervised(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task off the path, again and again; what it fails with becomes an alert."""
        wait_s = RETRY_S
        while True:
            forgetting = asyncio.ensure_future(self._forget_failure(name))
            try:
                await work()
            except Exception as error:
                cause = _first((error,))
                if isinstance(cause, StoreFailed | JournalDamaged):
                    raise cause from error
                log.exception("task failed", task=name)
                self._health.failing[name] = f"{type(error).__name__}: {error}"
                self._health.counts["task_failures"] += 1
            else:
                return
            finally:
                forgetting.cancel()
            await self._clock.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def _forget_failure(self, name: str) -> None:
        """Let a failure be over once its task has run for a while again."""
        await self._clock.sleep(RETRY_MAX_S)
        self._health.failing.pop(name, None)

    async def _mail_what_waits(self) -> None:
        """Let the relay finish: whoever started this for one day wants its alerts."""
        if self._parts.feed_ended is not None:
            self._parts.feed_ended()
        deadline_s = self._clock.monotonic_s() + MAIL_S
        while self._parts.unsent is not None and self._parts.unsent() and not self._asked:
            if self._clock.monotonic_s() > deadline_s:
                log.error("mail waits in the store; the next start sends it")
                return
            await self._clock.sleep(0.2)


@contextlib.asynccontextmanager
async def _tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises the first error itself, not a group of one."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors.exceptions) from errors


def _first(errors: Iterable[BaseException]) -> BaseException:
    for error in errors:
        return _first(error.exceptions) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
