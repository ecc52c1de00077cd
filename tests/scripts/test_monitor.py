"""The command as a person or a service manager runs it: a real process on a real store."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from msgspec import msgpack

from monitors import inputs
from monitors.alerts import Transition
from monitors.inputs import OF_MACHINE
from scripts.cli import run
from storage import journal
from storage.found import read_only
from strategies import registry
from tests.faults.trial import ZIGZAG
from tests.monitors.post import keys_of, text_of
from tests.ports import free_port
from tests.scripts.price_file import SYMBOLS, weekdays, write_prices
from tests.scripts.test_health import Mailbox

ROOT = Path(__file__).parents[2]
DEADLINE_S = 600.0  # A first run on a machine compiles for a minute, on a busy one for longer
QUIET = {"TS_STREAM__ADDRESS": "null", "TS_MONITOR__HTTP_ADDRESS": "null"}

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def data(home):
    return write_prices(home / "prices.csv", n_days=80)


def monitor(data, *options):
    return run(["monitor", "--data", str(data), "--strategies", "trend", "--store", "store", *options])


class Process:
    """`monitor` in a process of its own. Use as a context manager."""

    def __init__(self, home, data, *options, **environment):
        self.log = home / "log"
        self._file = self.log.open("w")
        command = [
            sys.executable, str(ROOT / "main.py"), "monitor", "--data", str(data), "--strategies", "trend",
            "--store", str(home / "store"), *options,
        ]  # fmt: skip
        self.child = subprocess.Popen(
            command, cwd=home, stderr=self._file, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **QUIET, **environment},
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()
        self._file.close()

    def until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            assert self.child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return found


def answer(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=600) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return None, ""


def test_a_history_is_monitored_to_its_end_and_a_second_run_has_nothing_to_do(data, capsys):
    assert monitor(data, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["counts"]["rows"] == 80
    assert first["counts"]["fills"] > 0
    assert first["ended"] == "the feed has ended"
    assert monitor(data) == 0
    assert "no new row" in capsys.readouterr().out
    assert run(["monitor", "--replay-journal", "store", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["identical"]
    assert again["kinds"]["row"] == 80
    assert again["journal_seq"] > first["journal_seq"]


def test_what_a_strategy_prints_is_no_result_of_the_monitor(home, data, capsys, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    (home / "mine.py").write_text(
        "from strategies import base, registry\n@registry.register\nclass A(base.RowStrategy):\n"
        "    name = 'a'\n    def on_row(self, row): print('here')\n"
    )
    words = ["--data", str(data), "--strategy-module", "mine.py", "--strategies", "a", "--store", "store"]
    for options in (words, ["--replay-journal", "store"]):
        registry._registered.clear()
        assert run(["monitor", *options, "--json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["journal_seq"] > 0
        assert "here" in shown.err


def test_a_damaged_snapshot_is_passed_over_and_told(home, data, capsys):
    assert monitor(data) == 0
    capsys.readouterr()
    with contextlib.closing(sqlite3.connect(home / "store" / "live.db")) as raw, raw:
        raw.execute("UPDATE snapshots SET data = CAST(substr(data, 1, 100) AS BLOB)")
    assert monitor(data) == 0
    said = capsys.readouterr()
    assert "no new row" in said.out
    assert "a snapshot is passed over" in said.err
    assert "checksum does not match" in said.err


def test_a_journal_that_decides_otherwise_is_told(data, capsys, monkeypatch):
    assert monitor(data, "--json") == 0
    monkeypatch.setattr("monitors.core._digest", lambda *_: bytes(32))
    assert run(["monitor", "--replay-journal", "store"]) == 65
    assert "decided differently now" in capsys.readouterr().err


def test_more_history_goes_on_where_the_store_is(home, capsys):
    short, long = home / "short", home / "long"
    for folder, n_days in ((short, 50), (long, 80)):
        folder.mkdir()
        write_prices(folder / "prices.csv", n_days=n_days)
    assert monitor(short, "--json") == 0
    assert monitor(long, "--json") == 0
    counts = [json.loads(line)["counts"] for line in capsys.readouterr().out.splitlines()]
    assert [one["rows"] for one in counts] == [50, 30]
    assert run(["monitor", "--data", str(long), "--strategies", "trend", "--store", "whole", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["counts"]
    for name in ("fills", "orders", "signals", "trades"):
        assert sum(one.get(name, 0) for one in counts) == whole.get(name, 0)


def test_a_paper_account_and_a_watched_portfolio_are_not_mixed_in_a_store(home, data, capsys):
    (home / "p.csv").write_text("symbol,shares\nAAAA,100\n")
    assert monitor(data, "--json") == 0
    assert monitor(data, "--positions", "p.csv") == 65
    assert "store: trades on paper; use another --store" in capsys.readouterr().err
    watching = ["monitor", "--data", str(data), "--strategies", "trend", "--store", "other"]
    assert run([*watching, "--positions", "p.csv", "--json"]) == 0
    assert run(watching) == 65
    assert "other: watches positions (--positions); use another --store" in capsys.readouterr().err


def test_another_universe_wants_another_store(home, data, capsys):
    assert monitor(data, "--json") == 0
    other = write_prices(home / "other.csv", n_days=30, symbols=("AAAA", "ZZZZ"))
    assert monitor(other) == 65
    assert "use another --store" in capsys.readouterr().err


def test_positions_are_watched(home, data, capsys):
    positions = home / "positions.csv"
    positions.write_text("symbol,shares,cost,sector\nAAAA,100,20,energy\nBBBB,10,25,technology\n")
    assert monitor(data, "--positions", str(positions), "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert "fills" not in counts
    assert counts["alerts"] > 0


def test_a_history_of_months_tells_of_every_drawdown_and_its_end_as_health_does(home, data, capsys):
    write_prices(data, n_days=200)
    (home / "p.csv").write_text("symbol,shares\nAAAA,100\n")
    assert monitor(data, "--positions", "p.csv", "--json") == 0
    with read_only(home / "store") as connection:
        told = [msgpack.decode(one, type=Transition) for (one,) in connection.execute(
            "SELECT payload FROM outbox WHERE rule = 'drawdown' ORDER BY id"
        )]  # fmt: skip
        curve = [inputs.decode(one)[0] for one in journal.read(connection) if one.kind == "row"]
    days = zip(weekdays(200), curve, strict=True)
    values = [f"{day},{100 * row.bars.close[0, 0].item()!r}\n" for day, row in days]
    (home / "curve.csv").write_text("".join(["date,equity\n", *values]))
    (home / "valued.csv").write_text("symbol,sector,market_value\nCASH,,1\n")
    capsys.readouterr()
    assert run(["health", "--equity", "curve.csv", "--positions", "valued.csv", "--json"]) == 0
    falls = json.loads(capsys.readouterr().out)["drawdowns"]
    assert len(falls) >= 3
    fired = [one.session for one in told if one.label == "fired"]
    over = [one.session for one in told if one.label == "resolved"]
    assert len(fired) == len(falls)
    assert len(over) == sum(one["recovery"] is not None for one in falls)
    for fall, at in zip(falls, fired, strict=True):
        assert fall["peak"] < at <= fall["trough"]
    for fall, at in zip(falls, over, strict=False):
        assert fall["trough"] < at <= fall["recovery"]
    assert run(["monitor", "--replay-journal", "store", "--json"]) == 0


def test_a_replay_is_mailed_at_its_end_with_every_alert_and_its_sessions(home, data, capsys):
    write_prices(data, n_days=200)
    (home / "p.csv").write_text("symbol,shares\nAAAA,100\n")
    with Mailbox() as mailbox:
        (home / "mail.json").write_text(json.dumps({"email": {
            "enabled": True, "smtp_server": "127.0.0.1", "smtp_port": mailbox.server.port, "security": "none",
            "sender": "desk@fund.test", "recipients": ["pm@fund.test"], "daily_at": None,
        }}))  # fmt: skip
        assert monitor(data, "--positions", "p.csv", "--settings", "mail.json", "--json") == 0
        mails = mailbox.server.accepted
    with read_only(home / "store") as connection:
        wanted = connection.execute("SELECT notif_key FROM outbox WHERE mail = 1").fetchall()
    keys = [key for one in mails for key in keys_of(one)]
    assert sorted(keys) == sorted(key for (key,) in wanted)
    assert sum(key.endswith(".resolved") for key in keys) >= 3
    assert len(mails) <= 2
    for one in mails:
        assert re.search(r"REPLAY 2021-\d\d-\d\d to 2021-", one.mail["Subject"])
        assert "LATE" not in text_of(one)


def test_a_replayed_store_takes_no_live_feed_and_a_live_one_no_replay(home, data, monkeypatch, capsys):
    monkeypatch.setenv("TS_MONITOR__BARS_ADDRESS", f"tcp://127.0.0.1:{free_port()}")
    assert monitor(data, "--json") == 0
    live = ["monitor", "--feed", "zmq", "--symbol", ",".join(SYMBOLS), "--strategies", "trend"]
    assert run([*live, "--store", "store"]) == 65
    assert "store: was begun by a replay, and alerts go by another time" in capsys.readouterr().err
    with monkeypatch.context() as changed:
        changed.setattr("scripts.live_assembly.OF_BARS", OF_MACHINE)
        assert run(["monitor", "--data", str(data), "--strategies", "trend", "--store", "other"]) == 0
    assert run(["monitor", "--data", str(data), "--strategies", "trend", "--store", "other"]) == 65
    assert "other: was begun by a live feed" in capsys.readouterr().err


def test_a_store_from_before_there_was_a_choice_goes_on_by_the_machine_s_clock(home, monkeypatch, capsys):
    short, long = home / "short", home / "long"
    for folder, n_days in ((short, 50), (long, 200)):
        folder.mkdir()
        write_prices(folder / "prices.csv", n_days=n_days)
    with monkeypatch.context() as changed:
        changed.setattr("scripts.live_assembly.OF_BARS", "")
        assert monitor(short) == 0
    assert monitor(long) == 0
    assert "150 rows" in capsys.readouterr().out
    with read_only(home / "store") as connection:
        plans = [inputs.decode(one)[0] for one in journal.read(connection) if one.kind == "plan"]
    assert [one.time for one in plans] == [""]


def test_positions_changed_by_hand_are_read_again_and_are_neither_profit_nor_loss(home, data, capsys):
    positions = home / "positions.csv"
    positions.write_text("symbol,shares,cost,sector\nAAAA,100,20,energy\nCASH,100,,\n")
    with Process(home, data, "--positions", str(positions), "--speed", "0.001") as process:
        process.until((home / "store" / "heartbeat.json").exists)
        for text, said in [
            ("symbol,shares\nAAAA,ten\n", "configuration refused"),
            ("symbol,shares,cost,sector\nAAAA,10,20,energy\nCASH,100,,\n", "configuration read again"),
        ]:
            positions.write_text(text)
            process.until(lambda said=said: said in process.log.read_text())
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(timeout=DEADLINE_S) == 0
    capsys.readouterr()
    assert run(["alerts", "list", "--store", str(home / "store"), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["alerts"]
    assert "drawdown" not in {one["rule"] for one in listed}  # A tenth of the shares is left, and no loss
    with read_only(home / "store") as connection:
        plans = [inputs.decode(entry)[0] for entry in journal.read(connection) if entry.kind == "plan"]
    assert [one.positions[0][:2] for one in plans] == [("AAAA", 100.0), ("AAAA", 10.0)]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--speed", "fast"], 2, "--speed must be a number > 0 or max"),
        (["--speed", "-3"], 2, "--speed"),
        (["--feed", "yahoo", "--speed", "2"], 2, "--speed goes with --feed replay"),
        (["--interval", "5m"], 2, "--interval goes with --feed yahoo"),
        (
            ["--feed", "yahoo", "--interval", "5m", "--symbol", "A", "--start", "2020-01-02"],
            65,
            "for 60 days",
        ),
        (["--strategies", "trond"], 2, "did you mean trend"),
        (["--trade-from", "soon"], 2, "--trade-from must be a date such as 2020-01-31, was 'soon'"),
        (["--trade-from", "2024-01-02", "--positions", "p.csv"], 2, "watched, not traded"),
        (["--feed", "yahoo", "--positions", "p.csv"], 2, "need --symbols FILE too"),
        (["--positions", "nowhere.csv"], 65, "No such file"),
        (["--replay-journal", "nowhere"], 65, "no such store"),
    ],
)
def test_a_mistake_is_one_line_and_the_right_code_and_leaves_no_store(home, options, code, said, capsys):
    assert run(["monitor", "--store", "store", *options]) == code
    assert said in capsys.readouterr().err
    assert not (home / "store").exists()


def test_a_kill_switch_without_a_store_is_told(home, capsys):
    assert run(["halt"]) == 65
    assert "no monitor has a store there" in capsys.readouterr().err


def test_a_service_is_started_watched_reloaded_and_stopped(home, data):
    settings, port = home / "settings.json", free_port()
    settings.write_text("{}")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(home / "notify"))
    notify.settimeout(DEADLINE_S)
    process = Process(
        home, data, "--speed", "40000", "--settings", str(settings),
        NOTIFY_SOCKET=str(home / "notify"), WATCHDOG_USEC="400000",
        TS_MONITOR__HTTP_ADDRESS=f"127.0.0.1:{port}",
    )  # fmt: skip
    with notify, process:
        words = []

        def told(word):
            while not any(word in line for line in words):
                words.append(notify.recv(4096).decode())

        told("READY=1")
        told("WATCHDOG=1")
        process.until(lambda: answer(port, "/readyz")[0] == 200)
        process.until(lambda: re.search(r"smallcap_rows_total [1-9]", answer(port, "/metrics")[1]))
        beat = json.loads((home / "store" / "heartbeat.json").read_text())
        assert [one for one in beat["problems"] if not one.startswith("event loop")] == []

        second = subprocess.run(
            process.child.args,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **QUIET},
        )
        assert second.returncode == 75
        assert f"locked by pid {process.child.pid}" in second.stderr

        settings.write_text('{"risk_management": {"max_positions": -3}}')
        process.child.send_signal(signal.SIGHUP)
        process.until(lambda: "configuration refused" in process.log.read_text())
        settings.write_text('{"risk_management": {"max_positions": 3}, "monitor": {"queue_rows": 3}}')
        process.child.send_signal(signal.SIGHUP)
        process.until(lambda: "configuration read again" in process.log.read_text())

        assert run(["halt", "--store", str(home / "store")]) == 0
        process.until(lambda: "halt" in process.log.read_text())

        notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # The kernel queues few datagrams, and drops what does not fit
                notify.recv(4096)
        notify.settimeout(DEADLINE_S)
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(timeout=DEADLINE_S) == 0
        told("STOPPING=1")
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} >= {"configuration refused", "command"}
    told_later = [line["sections"] for line in lines if "read at a start" in line["event"]]
    assert told_later == [["monitor"]]


def test_a_reload_keeps_the_portfolios_name_and_refuses_what_the_next_start_would_fail_with(home, data):
    settings = home / "settings.json"
    settings.write_text("{}")
    process = Process(
        home, data, "--speed", "0.001", "--settings", str(settings), "--strategy-module", str(ZIGZAG),
        TS_STREAM__ADDRESS=f"tcp://127.0.0.1:{free_port()}", TS_STREAM__REPLAY_PORT=str(free_port()),
    )  # fmt: skip
    with process:
        process.until((home / "store" / "heartbeat.json").exists)
        for changed, said in [
            ({"stream": {"key_file": "no.key_secret", "clients_dir": "clients"}}, "configuration refused"),
            ({"monitor": {"portfolio": "other"}, "risk_management": {"max_positions": 3}}, "read again"),
        ]:
            settings.write_text(json.dumps(changed))
            process.child.send_signal(signal.SIGHUP)
            process.until(lambda said=said: said in process.log.read_text())
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(timeout=DEADLINE_S) == 0
    with read_only(home / "store") as connection:
        plans = [inputs.decode(entry)[0] for entry in journal.read(connection) if entry.kind == "plan"]
    assert [one.portfolio for one in plans] == ["default", "default"]  # It is part of every alert's key


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"TS_MONITOR__HTTP_ADDRESS": "0.0.0.0:0"}, "http_public"),
        ({"TS_STREAM__ADDRESS": "tcp://0.0.0.0:5556"}, "stream"),
        (
            {
                "TS_STREAM__ADDRESS": "tcp://127.0.0.1:5556",
                "TS_STREAM__KEY_FILE": "no.key_secret",
                "TS_STREAM__CLIENTS_DIR": "clients",
            },
            "no.key_secret",
        ),
    ],
)
def test_an_open_door_is_refused_before_anything_listens(home, data, environment, named, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("scripts.monitor.warm_up", None)  # No kernel is waited for
    assert monitor(data, "--force-config-reload") == 78
    assert named in capsys.readouterr().err
    assert not (home / "store").exists()
