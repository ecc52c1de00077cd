"""The daemon on a real store and a real event loop: order, stopping, faults off the path, the watchdog."""

import asyncio
import os
import re
import socket
import time

import pytest

from config.settings import Monitoring, Settings
from engine.clock import ManualClock, SystemClock
from engine.errors import ConfigError
from engine.slab import Universe
from feeds.live import FeedStatus, LiveRow
from feeds.memory import MemoryFeed
from feeds.replay import ReplayFeed
from monitors import inputs
from monitors.daemon import LAG_EVERY_S, RETRY_MAX_S, RETRY_S, Daemon, Parts
from monitors.health import Health, JumpDetector
from monitors.inputs import Start
from monitors.metrics import metrics, registry
from monitors.notify import ServiceManager
from storage import commands, journal
from storage.found import DATABASE
from storage.journal import JournalDamaged
from storage.live import StoreFailed
from tests.monitors.live_market import SYMBOLS, market, plan, rows, settings_of, writer_on

DEADLINE_S = 600.0  # A first run on a machine compiles for a minute, on a busy one for longer
BLOCKED_S = 1.0


class Feed:
    """Gives what a test puts, and nothing until then."""

    universe = Universe(SYMBOLS)
    alive_s = None

    def __init__(self):
        self.coming = asyncio.Queue()
        self.given = 0

    async def events(self, after_ts_ns):
        while True:
            event = await self.coming.get()
            self.given += 1
            yield event


class Running:
    """A daemon in a task, with a service manager that listens."""

    def __init__(self, directory, feed=None, *, parts=None, reload=None, watchdog_s=None, **options):
        self.writer = writer_on(directory)
        self.feed = feed or Feed()
        self.clock = options.pop("clock", None) or SystemClock()
        self.health = Health(self.clock, options.pop("feed_dead_s", 60.0))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(0)
        address = str(directory) + ".notify"
        self.socket.bind(address)
        environment = {"NOTIFY_SOCKET": address}
        if watchdog_s:
            environment["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
        self.daemon = Daemon(
            self.writer, self.feed, options.pop("plan", None) or plan(), Start("code", "test"),
            self.clock, self.health, ServiceManager(environment),
            queue_rows=options.pop("queue_rows", 8), tick_s=options.pop("tick_s", 1e9), parts=parts,
            reload=reload, **options,
        )  # fmt: skip
        self.address = address

    async def __aenter__(self):
        self.task = asyncio.create_task(self.daemon.run())
        await self.until(lambda: self.health.ready or self.task.done())
        return self

    async def __aexit__(self, *_):
        if not self.task.done():
            self.daemon.stop("the test ends")
        try:
            await asyncio.wait({self.task}, timeout=DEADLINE_S)
        finally:
            self.writer.store.close()
            self.socket.close()
            os.unlink(self.address)

    async def until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            await asyncio.sleep(0.01)

    def said(self):
        """Return what the service manager was told since the last call."""
        words = []
        while True:
            try:
                words += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return words

    def kinds(self):
        return [entry.kind for entry in journal.read(self.writer.store.connection)]

    def transitions(self):
        return [row[0] for row in self.writer.store.connection.execute("SELECT rule FROM outbox ORDER BY id")]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def time_to_drain(monkeypatch):
    """However slow the disk is, what is queued is taken."""
    monkeypatch.setattr("monitors.daemon.DRAIN_S", DEADLINE_S)


async def test_a_feed_that_ends_ends_the_daemon_with_everything_taken(home):
    feed = ReplayFeed(MemoryFeed(Universe(SYMBOLS), market()), SystemClock())
    async with Running(home, feed) as running:
        assert await asyncio.wait_for(running.task, DEADLINE_S) == "the feed has ended"
        assert running.kinds() == ["plan", "start", *["row"] * 60, "stop"]
        assert {"READY=1", "STOPPING=1"} <= set(running.said())
        assert running.health.counts["rows"] == 60


@pytest.mark.usefixtures("time_to_drain")
async def test_a_stop_takes_what_is_queued_and_the_next_start_goes_on_after_it(home):
    async with Running(home) as running:
        for row in rows(0, 6):
            running.feed.coming.put_nowait(row)
        await running.until(lambda: running.feed.given == 6)
        running.daemon.stop("SIGTERM")
        assert await asyncio.wait_for(running.task, DEADLINE_S) == "SIGTERM"
        assert running.kinds().count("row") == 6
        last_ts_ns = running.writer.core.last_ts_ns
    feed = ReplayFeed(MemoryFeed(Universe(SYMBOLS), market()), SystemClock())
    async with Running(home, feed) as running:
        assert running.writer.core.last_ts_ns >= last_ts_ns
        await asyncio.wait_for(running.task, DEADLINE_S)
        assert running.kinds().count("row") == 60
        assert running.kinds().count("plan") == 1


async def test_a_call_that_blocks_the_loop_is_measured_exported_and_told(home):
    def block(taken):
        if taken.given == first:
            time.sleep(BLOCKED_S)  # The fault itself: nothing else runs meanwhile

    (first,) = rows(0, 1)
    limits = Settings(monitoring=Monitoring(loop_lag_ms=1e3 * BLOCKED_S / 2))
    parts = Parts(committed=[block])
    async with Running(home, parts=parts, plan=plan(settings=limits), tick_s=0.05) as running:
        await running.until(lambda: running.health.lags_s)
        running.feed.coming.put_nowait(first)
        await running.until(lambda: "loop_lag" in running.transitions())
        assert running.health.lag_worst_s >= BLOCKED_S - LAG_EVERY_S
        text = metrics(registry(running.health, lambda: iter(())))[1].decode()
        (value,) = re.findall(r"^smallcap_loop_lag_worst_seconds (\S+)$", text, re.MULTILINE)
        assert float(value) == running.health.lag_worst_s


async def test_a_command_is_taken_before_the_next_row(home):
    async with Running(home) as running:
        commands.submit(home, "halt", {}, ts_ns=1, by="ann", token="a")
        running.feed.coming.put_nowait(rows(0, 1)[0])
        await running.until(lambda: "row" in running.kinds())
        assert running.kinds() == ["plan", "start", "command", "row"]
        assert running.writer.core.killed
        assert commands.waiting(home) == []


async def bought_after(running, n_rows):
    """Take the rest of the rows; return whether anything was bought in them."""
    for row in rows(n_rows, 60):
        running.feed.coming.put_nowait(row)
    await running.until(lambda: running.kinds().count("row") == 60)
    return running.health.counts["orders"]


@pytest.mark.parametrize("way", ["file", "signal", "resting file", "command"])
async def test_every_kill_switch_acts_before_the_row_that_the_monitor_is_waiting_for(home, way):
    if way == "resting file":
        home.mkdir()
        (home / commands.HALT).touch()
    async with Running(home) as running:
        await running.until(lambda: running.kinds() == ["plan", "start"] or running.writer.core.killed)
        match way:
            case "file":
                (home / commands.HALT).write_text("enough")
            case "signal":
                running.daemon.halt("signal SIGUSR1")
            case "command":
                commands.submit(home, "halt", {}, ts_ns=1, by="ann", token="a")
        running.feed.coming.put_nowait(rows(0, 1)[0])
        await running.until(lambda: "row" in running.kinds())
        assert running.kinds() == ["plan", "start", "command", "row"]
        assert running.daemon.halted
        assert await bought_after(running, 1) == 0


async def test_a_kill_switch_holds_across_a_death_until_a_person_clears_it(home):
    async with Running(home) as running:
        (home / commands.HALT).touch()
        await running.until(lambda: running.daemon.halted)
        running.task.cancel()
    (home / commands.HALT).unlink()  # That alone clears nothing
    async with Running(home) as running:
        for row in rows(0, 30):
            running.feed.coming.put_nowait(row)
        await running.until(lambda: running.kinds().count("row") == 30)
        assert running.daemon.halted
        assert running.health.counts["orders"] == 0
        commands.submit(home, "resume", {}, ts_ns=2, by="ann", token="b")
        await running.until(lambda: not running.daemon.halted)
        assert await bought_after(running, 30) > 0


async def test_a_file_that_lies_there_stops_entries_once_and_again_after_a_resume(home):
    async with Running(home, tick_s=0.01) as running:
        (home / commands.HALT).touch()
        await running.until(lambda: running.kinds().count("tick") > 3 and running.daemon.halted)
        assert running.kinds().count("command") == 1
        commands.submit(home, "resume", {}, ts_ns=2, by="ann", token="b")
        await running.until(lambda: running.kinds().count("command") == 3)
        assert running.daemon.halted


@pytest.mark.usefixtures("time_to_drain")
async def test_a_kill_switch_thrown_while_it_stops_acts_before_the_next_of_what_is_queued(home):
    def stop_and_halt(taken):
        if isinstance(taken.given, LiveRow) and running.kinds().count("row") == 3:
            running.daemon.stop("SIGTERM")
            running.daemon.halt("signal SIGUSR1")

    running = Running(home, parts=Parts(committed=[stop_and_halt]))
    for row in rows(0, 8):
        running.daemon._queue.put_nowait(row)
    async with running:
        await asyncio.wait({running.task}, timeout=DEADLINE_S)
        assert running.kinds()[2:] == ["row"] * 3 + ["command"] + ["row"] * 5 + ["stop"]


async def test_a_file_that_is_no_command_is_set_aside_and_harms_nobody(home):
    async with Running(home) as running:
        (home / commands.FOLDER).mkdir()
        (home / commands.FOLDER / "x.json").write_text("{")
        await running.until(lambda: not commands.waiting(home))
        assert running.kinds() == ["plan", "start"]
        assert (home / commands.FOLDER / "x.refused").exists()


async def test_a_folder_of_commands_that_cannot_be_used_is_an_alert_until_it_can(home, monkeypatch):
    """The commands of somebody who may not give any wait, and so does the kill switch: a person must know."""
    async with Running(home, tick_s=0.05) as running:
        commands.submit(home, "halt", {}, ts_ns=1, by="ann", token="a")
        with monkeypatch.context() as forbidden:
            forbidden.setattr("os.access", lambda *_: False)
            await running.until(lambda: "monitor_degraded" in running.transitions())
            assert not running.writer.core.killed
            assert "Permission denied" in running.health.failing["commands"]
        await running.until(lambda: running.writer.core.killed)
        assert running.health.failing == {}


async def test_a_full_queue_makes_the_feed_wait_and_loses_nothing(home):
    ahead, parts = [], Parts()
    async with Running(home, queue_rows=2, parts=parts) as running:
        feed, counts = running.feed, running.health.counts
        parts.committed.append(lambda taken: ahead.append(feed.given - counts["rows"]))
        for row in rows():
            feed.coming.put_nowait(row)
        await running.until(lambda: running.kinds().count("row") == 60)
    assert max(ahead) == 3  # Two in the queue, and one that waits for its place there


async def test_a_reload_with_new_limits_is_journalled_and_a_bad_one_is_refused_with_an_alert(home):
    answers = [plan(settings=settings_of(max_positions=2)), ConfigError("settings.json: oops")]
    reloaded = []

    def reload():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    parts = Parts(reloaded=lambda: reloaded.append(True))
    async with Running(home, parts=parts, reload=reload) as running:
        running.feed.coming.put_nowait(rows(0, 1)[0])
        running.daemon.reload()
        await running.until(lambda: running.kinds().count("plan") == 2)
        in_force = running.writer.core.plan
        running.daemon.reload()
        await running.until(lambda: "monitor_degraded" in running.transitions())
        assert running.writer.core.plan == in_force
        assert reloaded == [True]
        assert not running.task.done()


async def test_a_reload_that_what_hangs_off_the_path_refuses_changes_nothing_and_alerts(home):
    def refuse():
        raise ConfigError("clients: not a directory of client keys")

    other = plan(settings=settings_of(max_positions=2))
    async with Running(home, parts=Parts(reloaded=refuse), reload=lambda: other) as running:
        running.feed.coming.put_nowait(rows(0, 1)[0])
        running.daemon.reload()
        await running.until(lambda: "monitor_degraded" in running.transitions())
        assert running.kinds().count("plan") == 1
        assert not running.task.done()


def failing_once():
    """Return a list in which each of its starts leaves a mark, and a task that fails the first time."""
    tries = []

    async def fails_once():
        tries.append(True)
        if len(tries) == 1:
            raise RuntimeError("boom")
        await asyncio.Event().wait()

    return tries, fails_once


async def test_a_task_off_the_path_that_fails_is_started_again_and_told_of(home):
    tries, fails_once = failing_once()
    async with Running(home, parts=Parts(off_path={"helper": fails_once}), tick_s=0.1) as running:
        running.feed.coming.put_nowait(rows(0, 1)[0])
        await running.until(lambda: len(tries) == 2)
        await running.until(lambda: "monitor_degraded" in running.transitions())
        assert not running.task.done()


async def test_a_failure_is_over_when_its_task_has_run_again_for_a_while(home):
    tries, fails_once = failing_once()
    clock = ManualClock()
    async with Running(home, parts=Parts(off_path={"helper": fails_once}), clock=clock) as running:
        await running.until(lambda: "helper" in running.health.failing)
        await clock.advance(RETRY_S)
        assert len(tries) == 2
        await clock.advance(RETRY_MAX_S - 1.0)
        assert "helper" in running.health.failing
        await clock.advance(1.0)
        assert running.health.failing == {}


@pytest.mark.parametrize("way", ["removed", "replaced", "renamed"])
async def test_a_store_that_is_taken_away_under_the_monitor_ends_it(home, way):
    """What it would go on to say would be in a file that nobody finds."""
    async with Running(home) as running:
        running.feed.coming.put_nowait(rows(0, 1)[0])
        await running.until(lambda: "row" in running.kinds())
        if way == "renamed":
            home.rename(home.with_name("elsewhere"))
        else:
            (home / DATABASE).unlink()
        if way == "replaced":
            (home / DATABASE).touch()
        await asyncio.wait({running.task}, timeout=DEADLINE_S)
        with pytest.raises(StoreFailed, match="removed or replaced"):
            running.task.result()


async def test_a_store_that_fails_ends_the_daemon_at_once(home):
    async with Running(home) as running:
        running.writer.store.connection.execute("PRAGMA max_page_count = 1")
        for row in rows(0, 40):
            running.feed.coming.put_nowait(row)
        await asyncio.wait({running.task}, timeout=DEADLINE_S)
        with pytest.raises(StoreFailed):
            running.task.result()


async def test_damage_that_a_task_off_the_path_finds_ends_the_daemon_at_once(home):
    async def finds():
        async with asyncio.TaskGroup() as group:  # As the publisher's
            group.create_task(reads())
            await asyncio.Event().wait()

    async def reads():
        raise JournalDamaged("message 5 was changed")

    async with Running(home, parts=Parts(off_path={"publisher": finds})) as running:
        await asyncio.wait({running.task}, timeout=DEADLINE_S)
        with pytest.raises(JournalDamaged, match="message 5 was changed"):
            running.task.result()


async def test_a_subscriber_on_the_path_hears_of_committed_rows_alone(home):
    """What is published can already be read in the store by somebody else."""
    from storage.found import read_only

    class Publisher:
        def __init__(self):
            self.seen = []

        def publish(self, published):
            with read_only(home) as other:
                newest = journal.newest_seq(other)
            assert all(row.journal_seq <= newest for row in published)
            self.seen += published

    publisher = Publisher()
    feed = ReplayFeed(MemoryFeed(Universe(SYMBOLS), market()), SystemClock())
    async with Running(home, feed, parts=Parts(publisher=publisher)) as running:
        await asyncio.wait_for(running.task, DEADLINE_S)
    assert [row.seq for row in publisher.seen] == sorted(row.seq for row in publisher.seen)
    assert len(publisher.seen) > 150


@pytest.mark.parametrize("fault", ["loop blocked", "feed hangs", "worker stuck"])
async def test_the_watchdog_is_fed_until_something_hangs(home, fault):
    async with Running(home, watchdog_s=0.2, feed_dead_s=0.3) as running:
        await running.until(lambda: "WATCHDOG=1" in running.said())
        if fault == "loop blocked":
            before = time.monotonic()
            await running.until(lambda: "WATCHDOG=1" in running.said())
            running.said()
            while time.monotonic() < before + 1.5:
                time.sleep(0.1)
            assert "WATCHDOG=1" not in running.said()
            return
        if fault == "feed hangs":
            running.feed.alive_s = running.clock.monotonic_s()
        else:
            running.health.stuck["relay"] = running.clock.monotonic_s() + 0.2
        await running.until(running.health.problems)
        await asyncio.sleep(0.3)
        running.said()
        await asyncio.sleep(0.5)
        assert "WATCHDOG=1" not in running.said()


async def test_feed_faults_are_counted_and_told(home):
    async with Running(home) as running:
        running.feed.coming.put_nowait(rows(0, 1)[0])
        running.feed.coming.put_nowait(rows(0, 1)[0])  # The same again
        running.feed.coming.put_nowait(FeedStatus("stale", "", "nothing for a minute"))
        await running.until(lambda: running.health.counts["feed_stale"])
        assert running.health.counts["feed_late"] == 1
        assert "feed" in running.transitions()


@pytest.mark.parametrize("jump_s", [-3_600.0, 3_600.0, 86_400.0])
async def test_a_jump_of_the_clock_is_told_once_for_a_minute(jump_s):
    clock = ManualClock()
    detector = JumpDetector(clock)
    await clock.advance(300.0)
    assert detector.conditions() == ()
    clock.jump(jump_s)
    (told,) = detector.conditions()
    assert f"{jump_s:+,.0f} s" in told.detail
    await clock.advance(30.0)
    assert detector.conditions() == (told,)
    await clock.advance(31.0)
    assert detector.conditions() == ()


async def test_a_jump_of_the_clock_moves_no_timer_and_is_told_once(home):
    clock = ManualClock()
    async with Running(home, clock=clock, tick_s=60.0) as running:
        for n, jump_s in enumerate((86_400.0, -3_600.0, 3_600.0), start=1):
            clock.jump(jump_s)
            running.feed.coming.put_nowait(rows(n, n + 1)[0])
            await running.until(lambda n=n: running.kinds().count("row") == n)
        assert "tick" not in running.kinds()
        assert running.transitions().count("monitor_degraded") == 1
        await clock.advance(61.0)
        await running.until(lambda: "tick" in running.kinds())


async def test_journal_order_is_by_number_whatever_the_wall_clock_does(home):
    async with Running(home) as running:
        clock = ManualClock()
        running.daemon._clock = clock
        for i, row in enumerate(rows(0, 4)):
            clock.jump(-3_600.0 * i)
            running.feed.coming.put_nowait(row)
            await running.until(lambda n=i: running.kinds().count("row") == n + 1)
        entries = list(journal.read(running.writer.store.connection))
        stamps = [entry.ts_ns for entry in entries if entry.kind == "row"]
        assert stamps == sorted(stamps, reverse=True)
        moments = [inputs.decode(entry)[0].bars.ts[0] for entry in entries if entry.kind == "row"]
        assert moments == sorted(moments)
