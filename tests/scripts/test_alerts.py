"""`alerts`: the list from the store, and commands left for the monitor."""

from __future__ import annotations

import json
import time

import pytest

from monitors import heartbeat, listing
from monitors.heartbeat import Heartbeat
from monitors.monitoring import Monitors
from scripts.cli import run
from storage import commands
from storage.live import Schema, open_store
from tests.monitors.views import position, settings, view


@pytest.fixture
def store(tmp_path):
    """Return a store with a drawdown and a sector open, and one silence."""
    monitors = Monitors(settings(sector_limits={"other": 0.25}), "fund")
    far = str(time.time_ns() + 3_600 * 10**9)
    monitors.command("silence", {"rule": "sector", "subject": "*", "until_ns": far, "reason": "known"})
    monitors.evaluate(view(0, 100))
    monitors.evaluate(view(1, 79, positions=(position("ACME", 30, sector="energy"),)))
    live = open_store(tmp_path / "live", Schema(listing.SCHEMA))
    with live.transaction() as connection:
        listing.save(connection, monitors.listing)
    live.close()
    return tmp_path / "live"


def alerts(store, *words):
    return run(["alerts", *words, "--store", str(store)])


def taken(store):
    return [commands.load(path) for path in commands.waiting(store)]


def test_the_list_is_worst_first_and_fits_80_columns(store, capsys):
    assert alerts(store, "list") == 0
    shown = capsys.readouterr().out
    assert shown.index("critical") < shown.index("warning")
    assert "Drawdown portfolio" in shown
    assert "21.0%" in shown
    assert "energy, not" in shown  # mailed: it is silenced
    assert "silenced: sector until" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_list_as_json(store, capsys):
    assert alerts(store, "list", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["rule"] for one in told["alerts"]] == ["drawdown", "sector"]
    assert [one["mailed"] for one in told["alerts"]] == [True, False]
    assert told["silences"][0]["reason"] == "known"


def test_the_list_of_a_replay_counts_time_to_its_newest_bar(tmp_path, capsys):
    monitors = Monitors(settings(), "fund")
    monitors.evaluate(view(0, 100, replayed=True))
    monitors.evaluate(view(1, 79, replayed=True, now_ns=time.time_ns()))
    monitors.evaluate(view(4, 79, replayed=True, now_ns=time.time_ns(), feed="down"))
    live = open_store(tmp_path / "live", Schema(listing.SCHEMA))
    with live.transaction() as connection:
        listing.save(connection, monitors.listing)
    live.close()
    assert alerts(tmp_path / "live", "list") == 0
    shown = capsys.readouterr().out
    drawdown, feed = (next(line for line in shown.splitlines() if name in line) for name in ("Draw", "feed"))
    assert drawdown.endswith("3 d 0 h")
    assert feed.endswith(" s")
    assert "a replay, at the bar of 2024-01-06 16:00:00 EST" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_a_store_without_alerts_says_so(tmp_path, capsys):
    open_store(tmp_path / "live", Schema(listing.SCHEMA)).close()
    assert alerts(tmp_path / "live", "list") == 0
    assert "no alert is open" in capsys.readouterr().out


def test_an_acknowledgement_is_left_for_the_monitor_under_the_whole_key(store, capsys):
    alerts(store, "list", "--json")
    key = json.loads(capsys.readouterr().out)["alerts"][0]["key"]
    assert alerts(store, "ack", key[:6].upper()) == 0
    (command,) = taken(store)
    assert (command.name, command.arguments) == ("ack", {"key": key})
    assert "reminders stop" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("Energy", ""),
        ("enrgy", "no alert of enrgy is open now; did you mean energy?"),
        ("utilities", "no alert of utilities is open now"),
        ("*", ""),
    ],
)
def test_a_silence_of_what_has_no_alert_open_is_taken_and_says_so(store, capsys, subject, told):
    assert alerts(store, "silence", "sector", subject) == 0
    assert len(taken(store)) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith(told or "the same")


def test_a_silence_is_left_for_the_monitor_with_its_end(store):
    before = time.time_ns()
    assert alerts(store, "silence", "stale-name", "KRYS", "--for", "2d", "--reason", "halted") == 0
    (command,) = taken(store)
    until_ns = int(command.arguments.pop("until_ns"))
    assert command.arguments == {"rule": "stale_name", "subject": "KRYS", "reason": "halted"}
    assert 0 <= until_ns - before - 2 * 86_400 * 10**9 < 60 * 10**9


def test_what_is_left_is_what_the_monitors_understand(store, capsys):
    alerts(store, "silence", "all")
    alerts(store, "unsilence", "sector")
    monitors = Monitors(settings(), "fund")
    monitors.command("silence", {"rule": "sector", "subject": "*", "until_ns": str(2**62), "reason": ""})
    for command in taken(store):
        monitors.command(command.name, command.arguments)
    monitors.evaluate(view(0, 100))
    assert [(one.rule, one.subject) for one in monitors.listing.silences] == [("*", "*")]


def test_a_silence_that_no_monitor_has_taken_yet_can_be_ended(store):
    assert alerts(store, "silence", "drawdown") == 0
    assert alerts(store, "unsilence", "drawdown") == 0
    assert [command.name for command in taken(store)] == ["silence", "unsilence"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ack", "zzz"), "no open alert has a key that begins so"),
        (("ack", ""), "no open alert"),
        (("silence", "drawdwn"), "did you mean drawdown?"),
        (("silence", "nonsense"), "rules are drawdown"),
        (("silence", "drawdown", "--for", "soon"), "--for must be minutes"),
        (("silence", "drawdown", "--for", "400d"), "--for must be minutes"),
        (("unsilence", "drawdown"), "no such silence"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_command(store, capsys, words, said):
    assert alerts(store, *words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert taken(store) == []


@pytest.mark.parametrize("words", [("list",), ("ack", "a"), ("silence", "all")])
def test_a_folder_that_is_no_store_is_refused(tmp_path, capsys, words):
    assert alerts(tmp_path, *words) == 65
    assert "no such store" in capsys.readouterr().err
    assert not (tmp_path / "commands").exists()


@pytest.mark.parametrize(
    "words",
    [["alerts", "list", "--store"], ["alerts", "silence", "all", "--store"], ["monitor", "--replay-journal"]],
)
@pytest.mark.parametrize("content", ["hello", "hello" * 2_000, ""])
def test_a_database_that_is_none_is_refused_in_one_line(tmp_path, capsys, words, content):
    (tmp_path / "live.db").write_text(content)
    assert run([*words, str(tmp_path)]) == 65
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {tmp_path}: ")
    assert (shown.err.count("\n"), shown.out) == (1, "")
    assert not (tmp_path / "commands").exists()


def test_check_says_whether_the_monitor_lives(store, capsys):
    assert alerts(store, "check") == 1
    assert "never run here" in capsys.readouterr().out
    beat = Heartbeat(ts_ns=time.time_ns(), journal_seq=1, journal_hash="a")
    heartbeat.write(store / heartbeat.FILE, beat)
    assert alerts(store, "check") == 0
    assert capsys.readouterr().out == "well\n"
