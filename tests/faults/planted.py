"""Faults to be planted into a copy of this tree, and the test that must turn red for each.

    python -m tests.faults.planted [WORD ...]     those whose name holds a word; without one, all

The numbers are those of the specification (reliability bar, section 7); a letter with a number names the
promise that the fault breaks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".hypothesis", ".*_cache", "out", "data", "build", "*.egg-info"
)
INTERPRETED = {"NUMBA_DISABLE_JIT": "1"}  # A changed kernel would be compiled anew, for a minute
TESTS_FAILED, ALL_PASSED = 1, 0


@dataclass(frozen=True)
class Fault:
    """name: its number and what it is. edits: (file, text that is there once, text instead of it)."""

    name: str
    test: str  # must be red with it
    edits: Sequence[tuple[str, str, str]]
    environment: Mapping[str, str] = field(default_factory=dict)


def fault(
    name: str, test: str, file: str, old: str, new: str, *more: tuple[str, str], **environment: str
) -> Fault:
    """Return a fault in one file. more: further edits of it."""
    return Fault(name, test, tuple((file, *edit) for edit in ((old, new), *more)), environment)


class Unplantable(Exception):
    """The text that a fault changes is no longer in the tree, or there more than once."""


class Tree:
    """A copy of this tree, to plant faults in."""

    def __init__(self, root: Path) -> None:
        shutil.copytree(ROOT, root, ignore=NOT_COPIED)
        self.root = root

    def judge(self, fault: Fault) -> str:
        """Return "" when the test of a fault is red with it, else what is wrong."""
        try:
            originals = {file: (self.root / file).read_text() for file, _, _ in fault.edits}
            planted = dict(originals)
            for file, old, new in fault.edits:
                if planted[file].count(old) != 1:
                    raise Unplantable(f"{file} has {planted[file].count(old)} times: {old.strip()}")
                planted[file] = planted[file].replace(old, new)
        except (OSError, Unplantable) as error:
            return f"cannot be planted: {error}"
        try:
            for file, text in planted.items():
                (self.root / file).write_text(text)
            code, said = self.run([fault.test], fault.environment)
        finally:
            for file, text in originals.items():
                (self.root / file).write_text(text)
        if code == TESTS_FAILED:
            return ""
        if code == ALL_PASSED:
            return f"NOT CAUGHT by {fault.test}"
        return f"{fault.test} gives no verdict (exit code {code}):\n{said[-2_000:]}"

    def run(self, tests: Iterable[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run tests in the tree as it is, however long; return the exit code of pytest and what it said."""
        # No bytecode: a file that is changed twice within a second may look unchanged
        kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        kept = {**kept, "PYTHONDONTWRITEBYTECODE": "1", "SMALLCAP_FAULTS": "", **environment}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-x", *tests],
            cwd=self.root, env=kept, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


FAULTS = (
    fault(
        "1 state saved before mail",
        "tests/faults/test_crashes.py::test_killed_before_any_call_it_goes_on_as_if_nothing_had_happened",
        "monitors/writer.py",
        "told = outbox.enqueue(connection, outcome.transitions, readings.now_ns, seq)",
        "told: list[bytes] = []",
        (
            "        if isinstance(given, LiveRow):\n            self._newest",
            "        if outcome.transitions:\n"
            "            with self.store.transaction() as connection:\n"
            "                outbox.enqueue(connection, outcome.transitions, readings.now_ns, seq)\n"
            "        if isinstance(given, LiveRow):\n            self._newest",
        ),
    ),
    fault(
        "2 synchronous=NORMAL",
        "tests/faults/test_crashes.py::test_every_publication_comes_after_a_sync_of_the_log",
        "storage/live.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL",
    ),
    fault(
        "3 marked as sent before it is sent",
        "tests/monitors/test_delivery_crashes.py"
        "::test_killed_at_any_place_it_loses_no_alert_and_marks_every_repeat",
        "monitors/relay.py",
        "            outbox.start(connection, due.mail_id, due.recipients)\n",
        "            outbox.start(connection, due.mail_id, due.recipients)\n"
        "            for one in due.recipients:\n"
        "                outbox.sent(connection, due.mail_id, one, self._clock.now_ns())\n",
    ),
    fault(
        "4 key of an alert from the wall clock",
        "tests/monitors/test_monitoring.py::test_an_episode_is_numbered_by_the_journal_and_not_by_the_clock",
        "monitors/episodes.py", "max(moment.row_seq, alert.episode + 1)", "moment.now_ns",
    ),
    fault(
        "5 only DecodeError is caught",
        "tests/monitors/test_wire.py::test_100_000_mutated_frames_raise_only_the_documented_error",
        "monitors/wire.py",
        "except (msgspec.MsgspecError, ValueError, RecursionError) as error",
        "except msgspec.DecodeError as error",
    ),
    fault(
        "6 gate written x <= limit",
        "tests/risk/test_gate.py::test_each_refusal_names_its_reason_and_its_numbers",
        "risk/gate.py", "elif not ref > 0.0 or stop", "elif ref <= 0.0 or stop", **INTERPRETED,
    ),
    fault(
        "6 monitor written x > limit",
        "tests/monitors/test_monitoring.py::test_a_number_that_is_missing_is_a_breach_and_silences_nothing",
        "monitors/episodes.py", "    if math.isnan(reading.value):\n        return 1\n", "",
    ),
    fault(
        "7 fastmath=True",
        "tests/engine/test_jit.py::test_a_kernel_tells_nan_from_a_number_compiled_or_not",
        "engine/jit.py", '= {"nogil": True', '= {"fastmath": True, "nogil": True',
    ),
    fault(
        "7 fastmath=True, unread",
        "tests/engine/test_jit.py::test_no_kernel_uses_fastmath_parallel_loops_or_running_sums",
        "engine/jit.py", '= {"nogil": True', '= {"fastmath": True, "nogil": True',
    ),
    fault(
        "8 window as a difference of running sums",
        "tests/engine/test_indicators.py::test_what_lies_before_its_window_changes_no_bit",
        "engine/indicators.py",
        """    for t in range(n - 1, len(values)):
        total = 0.0
        for k in range(t - n + 1, t + 1):
            total += values[k]
        out[t] = total / n
""",
        """    sums = values.cumsum()
    for t in range(n - 1, len(values)):
        out[t] = (sums[t] - (sums[t - n] if t >= n else 0.0)) / n
""",
        **INTERPRETED,
    ),
    fault(
        "9 a strategy reads the next close",
        "tests/strategies/test_trend.py::test_the_future_cannot_change_the_past",
        "strategies/trend.py",
        "            close = tape.close[t, s]\n",
        "            close = tape.close[min(t + 1, len(tape.close) - 1), s]\n",
        **INTERPRETED,
    ),
    fault(
        "10 CURVE without ZAP",
        "tests/monitors/test_curve.py::test_an_unknown_key_is_not_served",
        "monitors/curve.py",
        "        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # No handler, no entry\n", "",
        ("        self._authenticator.start()\n", ""),
        ("        self._authenticator.stop()\n", "        pass\n"),
    ),
    fault(
        "11 start_tls left to its default",
        "tests/monitors/test_smtp_faults.py::test_starttls_left_to_its_default_is_caught",
        "monitors/smtp.py", 'start_tls=email.security == "starttls",', "start_tls=None,",
    ),
    fault(
        "12 the refusals that are returned are ignored",
        "tests/monitors/test_smtp.py::test_outcomes",
        "monitors/smtp.py",
        "    return {address: _refused(reply.code, reply.message, password)"
        " for address, reply in refused.items()}\n",
        "    return {}\n",
    ),
    fault(
        "13 the token is compared as text",
        "tests/monitors/test_routes.py::test_with_a_token_only_the_token_throws_it",
        "monitors/routes.py",
        'given.encode("latin-1"), f"Bearer {token.reveal()}".encode()', 'given, f"Bearer {token.reveal()}"',
    ),
    fault(
        "14 another try after a failed sync of the log",
        "tests/faults/test_crashes.py::test_a_disk_that_refuses_ends_the_monitor_and_loses_nothing",
        "storage/live.py",
        """            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self.failed(error) from error
""",
        """            self.connection.execute("COMMIT")
        except sqlite3.Error:
            self.connection.execute("COMMIT")
""",
    ),
    fault(
        "14 another try after a failed sync of the mark",
        "tests/faults/test_crashes.py::test_a_disk_that_refuses_ends_the_monitor_and_loses_nothing",
        "storage/high_water.py",
        "            os.fdatasync(self._file)\n",
        "            try:\n                os.fdatasync(self._file)\n"
        "            except OSError:\n                os.fdatasync(self._file)\n",
    ),
    fault(
        "15 a queue without a bound",
        "tests/monitors/test_daemon.py::test_a_full_queue_makes_the_feed_wait_and_loses_nothing",
        "monitors/daemon.py", "asyncio.Queue(queue_rows)", "asyncio.Queue()",
    ),
    fault(
        "16 a job by naive local time",
        "tests/universe/test_schedule.py::test_a_time_of_the_hour_that_comes_twice_is_that_of_the_first",
        "universe/schedule.py",
        "datetime.combine(day, self._time, self._zone).astimezone(UTC)",
        "datetime.combine(day, self._time, self._zone)",
        ("moment > previous_fire_time.astimezone(UTC)", "moment > previous_fire_time"),
        ("moment >= now.astimezone(UTC)", "moment >= now"),
    ),
    fault(
        "17 the password in a reason",
        "tests/monitors/test_smtp.py::test_a_password_that_a_server_repeats_is_not_shown",
        "monitors/smtp.py", 'text.replace(password, "***") if password else text', "text",
    ),
    fault(
        "18 a log that lost a frame is not noticed",
        "tests/storage/test_live.py::test_a_log_that_lost_its_last_frame_is_noticed",
        "storage/found.py",
        "    if newest < mark.head.seq:\n", "    if False:\n",
        ("    if journal.head_at(connection, mark.head.seq) != mark.head:\n", "    if False:\n"),
    ),
    Fault(
        "19 headers made as MIMEText makes them",
        "tests/monitors/test_mail.py::test_no_text_from_outside_makes_a_header_a_line_or_markup",
        (
            (
                "monitors/mail.py",
                'mail["Subject"] = printable(f"{email.subject_prefix} {marked}").strip()[:_SUBJECT_MAX]',
                'mail._headers.append(("Subject", f"{email.subject_prefix} {marked}"))',
            ),
            ("monitors/wording.py", '" ".join(printable(text).split())', "text"),
        ),
    ),
    fault(
        "20 a route that asks for no token",
        "tests/monitors/test_routes.py::test_with_a_token_only_the_token_throws_it",
        "monitors/routes.py", "        if refusal:\n", "        if False:\n",
    ),
    fault(
        "A-7 no lock",
        "tests/storage/test_live.py::test_a_second_monitor_is_told_who_holds_the_store",
        "storage/live.py", "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n",
    ),
    fault(
        "B-2 repeats without a mark",
        "tests/monitors/test_delivery_crashes.py"
        "::test_killed_at_any_place_it_loses_no_alert_and_marks_every_repeat",
        "monitors/outbox.py",
        "SET state = 'pending', repeat = 1, due_ns = 0", "SET state = 'pending', due_ns = 0",
    ),
    fault(
        "F-5 the kill switch after the row",
        "tests/monitors/test_daemon.py::test_a_command_is_taken_before_the_next_row",
        "monitors/daemon.py",
        "            self._take_commands()  # Given while we waited: the kill switch comes before this row\n",
        "",
        (
            "                await asyncio.sleep(0)  # The others get their turn\n",
            "                await asyncio.sleep(0)\n            self._take_commands()\n",
        ),
    ),
    fault(
        "F-5 the gate does not know the kill switch",
        "tests/brokers/test_kill_switch.py",
        "risk/gate.py", "    if params.barred != 0:\n", "    if params.barred > 1_000:\n", **INTERPRETED,
    ),
    fault(
        "G-1 a watchdog that is fed whatever happens",
        "tests/monitors/test_daemon.py::test_the_watchdog_is_fed_until_something_hangs",
        "monitors/daemon.py", "            if not problems:\n", "            if True:\n",
    ),
    fault(
        "G-2 restarts that are given up on",
        "tests/scripts/test_service_unit.py",
        "docs/deploy/smallcap-monitor.service", "StartLimitIntervalSec=0", "StartLimitBurst=5",
    ),
    fault(
        "G-3 a timer by the wall clock",
        "tests/monitors/test_daemon.py::test_a_jump_of_the_clock_moves_no_timer_and_is_told_once",
        "monitors/daemon.py",
        "        last_tick_s = self._clock.monotonic_s()\n        while",
        "        last_tick_s = self._clock.now_ns() / 1e9\n        while",
        (
            "if self._clock.monotonic_s() - last_tick_s >= self",
            "if self._clock.now_ns() / 1e9 - last_tick_s >= self",
        ),
        (
            "                last_tick_s = self._clock.monotonic_s()\n",
            "                last_tick_s = self._clock.now_ns() / 1e9\n",
        ),
    ),
    fault(
        "G-3 a jump of the clock is not told",
        "tests/monitors/test_daemon.py::test_a_jump_of_the_clock_moves_no_timer_and_is_told_once",
        "monitors/daemon.py",
        "(*self._jumps.conditions(), *self._health.conditions())", "self._health.conditions()",
    ),
    fault(
        "G-6 rows for which there is no room are dropped",
        "tests/monitors/test_daemon.py::test_a_full_queue_makes_the_feed_wait_and_loses_nothing",
        "monitors/daemon.py",
        "            await self._queue.put(event)\n",
        "            if not self._queue.full():\n                self._queue.put_nowait(event)\n"
        "            await asyncio.sleep(0)\n",
    ),
    fault(
        "G-7 a stop that forgets what is queued",
        "tests/monitors/test_daemon.py"
        "::test_a_stop_takes_what_is_queued_and_the_next_start_goes_on_after_it",
        "monitors/daemon.py", "        while not self._queue.empty() and", "        while False and",
    ),
    fault(
        "G-7 a stop that waits for its feed",
        "tests/monitors/test_daemon.py"
        "::test_a_stop_takes_what_is_queued_and_the_next_start_goes_on_after_it",
        "monitors/daemon.py", "            feeding.cancel()\n", "            await feeding\n",
    ),
    fault(
        "I-1 unknown keys are passed over",
        "tests/config/test_loader.py",
        "config/layers.py",
        '            raise _error(source, (*path, key), _unknown("key", key, kinds))\n',
        "            continue\n",
    ),
    fault(
        "I-1 of two equal keys the last counts",
        "tests/config/test_files.py",
        "config/files.py", "        if key in result:\n", "        if False:\n",
    ),
    fault(
        "matching: accounts do not share the volume of a bar",
        "tests/brokers/test_matching.py::test_accounts_share_the_volume_of_a_bar",
        "brokers/matching.py", "        allowed -= traded.used\n", "        pass\n", **INTERPRETED,
    ),
)  # fmt: skip


def told(faults: Iterable[Fault], tree: Tree) -> Iterator[tuple[Fault, str]]:
    """Plant one fault after the other; yield each with what is wrong, and print a line about it."""
    n = n_red = 0
    for one in faults:
        problem = tree.judge(one)
        n, n_red = n + 1, n_red + (not problem)
        print(f"planted {one.name}: {problem or f'red by {one.test}'}", flush=True)
        yield one, problem
    print(f"planted faults: {n_red} of {n} red", flush=True)


def main(words: Sequence[str]) -> int:
    """Plant faults and say what became of each; return 1 unless all are caught."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder) / "tree")
        chosen = [one for one in FAULTS if not words or any(word in one.name for word in words)]
        return int(any([problem for _, problem in told(chosen, tree)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
