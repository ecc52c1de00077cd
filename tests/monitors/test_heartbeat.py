"""What an observer outside sees when the monitor, its mail, its feed or its disk stops (B-9)."""

from __future__ import annotations

import asyncio
import math
from math import nan

import pytest

from config.settings import Settings
from engine.clock import ManualClock
from monitors.episodes import OpenAlert
from monitors.heartbeat import Heartbeat, Report, check, daily_report, keep_alive, write
from monitors.listing import Listing
from monitors.silences import Silence
from tests.monitors.post import START_NS

MINUTE_NS = 60 * 1_000_000_000


def beat(ts_ns=START_NS, problems=()):
    return Heartbeat(ts_ns=ts_ns, journal_seq=7, journal_hash="abc", problems=tuple(problems))


def test_a_fresh_file_without_problems_is_well(tmp_path):
    write(tmp_path / "f", beat())
    assert check(tmp_path / "f", START_NS + 10 * MINUTE_NS) == ()


def test_a_monitor_that_stopped_is_seen_within_two_intervals(tmp_path):
    write(tmp_path / "f", beat())
    (problem,) = check(tmp_path / "f", START_NS + 10 * MINUTE_NS + 1)
    assert problem.startswith("no sign of life for 10 min")


def test_a_file_from_a_time_to_come_is_not_well(tmp_path):
    write(tmp_path / "f", beat())
    (problem,) = check(tmp_path / "f", START_NS - 11 * MINUTE_NS)
    assert "yet to come" in problem


def test_problems_are_told_as_they_are(tmp_path):
    write(tmp_path / "f", beat(problems=["feed down", "mail: 421"]))
    assert check(tmp_path / "f", START_NS) == ("feed down", "mail: 421")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\xfe", b"[1]"])
def test_a_file_that_says_nothing_is_not_well(tmp_path, content):
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    assert len(check(tmp_path / "f", START_NS)) == 1


async def test_a_disk_that_refuses_lets_the_file_grow_old_and_hurts_nobody(tmp_path):
    clock = ManualClock(START_NS)
    folder = tmp_path / "store"
    folder.mkdir()
    task = asyncio.create_task(keep_alive(folder / "f", clock, lambda: beat(clock.now_ns())))
    await clock.advance(900)
    assert check(folder / "f", clock.now_ns()) == ()
    folder.rename(tmp_path / "gone")
    await clock.advance(900)
    assert not task.done()
    assert check(tmp_path / "gone/f", clock.now_ns())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def report(alerts=(), silences=(), **changes):
    known = {
        "portfolio": "fund", "session": "2024-01-02", "ts_ns": START_NS, "equity_usd": 101_500.4,
        "drawdown": 0.031, "listing": Listing(START_NS, list(alerts), list(silences)), "journal_seq": 7,
        "journal_hash": "abc", "n_dead_letters": 0,
    }  # fmt: skip
    return daily_report(Report(**{**known, **changes}))


def test_the_daily_word_says_that_all_is_well_and_how_far_the_journal_is():
    said = report()
    assert said.subject == "Daily: all well; 2024-01-02, drawdown 3.1%"
    assert "equity $101,500" in said.body
    assert "Journal row 7, abc" in said.body


def test_the_daily_word_before_the_first_bar_names_no_date_and_no_drawdown():
    said = report(session="", ts_ns=0, equity_usd=math.nan, drawdown=0.0)
    assert said.subject == "Daily: all well; no session yet, drawdown unknown"
    assert "No bar yet; equity unknown." in said.body


def test_the_daily_word_lists_what_is_open_even_if_it_was_not_mailed():
    alert = OpenAlert(
        rule="sector", subject="biotech", open=True, key="f" * 32, severity="warning", value=0.42,
        since_ns=START_NS,
    )  # fmt: skip
    said = report([alert], [Silence("drawdown", "*", START_NS, "known")])
    assert said.subject.startswith("Daily: 1 alert open")
    assert (
        "Sector concentration biotech: 42.0% (warning, since 2024-01-02 16:00:00 EST, not mailed before"
        in said.body
    )
    assert "Silenced: drawdown *" in said.body


def test_the_daily_word_never_says_well_with_problems_or_dead_letters():
    said = report(n_dead_letters=2, problems=["feed: stale"], drawdown=nan)
    assert said.subject == "Daily: 2 problems; 2024-01-02, drawdown unknown"
    assert "Problem: feed: stale" in said.body
    assert Settings().monitor.heartbeat_seconds == beat().interval_s == 300.0
