"""`monitor --feed yahoo` as a person runs it, against a local server that speaks Yahoo's chart API."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from config import Settings
from engine.clock import SystemClock
from feeds.sessions import day_number, iso_day, trading_hours
from scripts.cli import run
from scripts.live_assembly import in_bars
from tests.feeds.yahoo_minutes_server import minutes
from tests.feeds.yahoo_server import chart, yahoo_server

SYMBOLS = ("AAAA", "BBBB", "CCCC")
N_SESSIONS = 100
DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
COMMAND = ["monitor", "--feed", "yahoo", "--symbol", ",".join(SYMBOLS), "--strategies", "trend"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1


def closed_sessions(n):
    """Return the ISO dates of the newest sessions that have been over for an hour."""
    today = int(time.time() // 86_400)
    hours = trading_hours(today - 2 * n - 20, today)
    return [iso_day(day) for day in hours.days[hours.closes < (time.time() - 3_600) * 1e9][-n:]]


def waves(symbol, days):
    """Return closes that rise and fall, so that a trend begins and ends several times."""
    t, k = np.arange(len(days)), SYMBOLS.index(symbol)
    close = (20 + 5 * k) * np.exp(0.001 * t + 0.18 * np.sin(2 * np.pi * (t / 45 + k / 4)))
    return dict(zip(days, np.round(close, 2).tolist(), strict=True))


@pytest.fixture
def yahoo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    days = closed_sessions(N_SESSIONS)
    with yahoo_server() as server:
        server.days = days
        server.answer = lambda symbol, n: (200, chart(symbol, waves(symbol, days)))
        for name, value in {
            "TS_STREAM__ADDRESS": "null", "TS_MONITOR__HTTP_ADDRESS": "null",
            "TS_DATA_SOURCES__YAHOO_URL": server.url, "TS_RISK_MANAGEMENT__ADV_CAP": "null",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield server


def monitor(yahoo, capsys, *options):
    code = run([*COMMAND, "--start", yahoo.days[0], "--store", "store", "--once", "--json", *options])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)["counts"]


def test_a_new_store_is_warmed_up_by_history_and_trades_none_of_it(yahoo, capsys):
    counts = monitor(yahoo, capsys)
    assert counts["rows"] == N_SESSIONS
    assert counts["signals"] > 0
    assert "orders" not in counts
    assert run(["monitor", "--replay-journal", "store", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]


def test_history_is_traded_from_a_day_that_is_asked_for(yahoo, capsys):
    counts = monitor(yahoo, capsys, "--trade-from", yahoo.days[75])
    assert counts["fills"] > 0
    whole = monitor(yahoo, capsys, "--trade-from", yahoo.days[0], "--store", "whole")
    assert whole["fills"] > counts["fills"]


def test_bars_of_minutes_are_watched_in_a_store_of_their_own(yahoo, capsys):
    day = yahoo.days[-1]
    yahoo.answer = minutes(yahoo, SystemClock(), lambda symbol, begin_s: 20.0 + begin_s % 3_600 / 1_000)
    counts = monitor(yahoo, capsys, "--interval", "15m", "--start", day)
    hours = trading_hours(day_number(day), day_number(day))
    assert counts["rows"] == (hours.closes[0] - hours.opens[0]) // (900 * 10**9)
    assert "orders" not in counts
    assert run(["monitor", "--replay-journal", "store", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]
    yahoo.answer = lambda symbol, n: (200, chart(symbol, waves(symbol, yahoo.days)))
    assert run([*COMMAND, "--start", yahoo.days[0], "--store", "store", "--once"]) == 65
    assert "was begun with 15m bars, now 1d; use another --store" in capsys.readouterr().err


def test_more_symbols_than_can_be_asked_about_in_time_are_refused(yahoo, capsys):
    names = ",".join(f"N{i}" for i in range(1_600))
    assert run(["monitor", "--feed", "yahoo", "--interval", "1m", "--symbol", names]) == 2
    assert "about 1,600 symbols takes longer than half of it" in capsys.readouterr().err


def test_what_counts_sessions_counts_them_in_bars():
    settings = Settings()
    minutes = in_bars(settings, "5m")
    assert minutes.backtest.delist_after_sessions == 78 * settings.backtest.delist_after_sessions
    assert minutes.risk_management.signal_ttl == 78 * settings.risk_management.signal_ttl
    assert minutes.risk_management.rearm_sessions == 78 * settings.risk_management.rearm_sessions
    assert in_bars(settings, "1d") is settings


def service_command():
    words = re.search(r"^ExecStart=\S+ (.*)$", (DEPLOY / "smallcap-monitor.service").read_text(), re.M)[1]
    return words.replace("/etc/smallcap", "config").replace("/var/lib/smallcap", "kept").split()


def container_command():
    words = json.loads(re.search(r"command: (.*)$", (DEPLOY / "compose.yaml").read_text(), re.M)[1])
    return [re.sub("^/data", "kept", re.sub("^/config", "config", word)) for word in words]


@pytest.mark.parametrize("words", [service_command(), container_command()], ids=["systemd", "compose"])
def test_what_docs_deploy_starts_watches_a_live_feed_of_the_symbols_beside_the_settings(
    yahoo, tmp_path, capsys, words
):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.json").write_text("{}")
    (tmp_path / "config" / "symbols.txt").write_text("\n".join(SYMBOLS))
    options = ["--once", "--json", "--strategies", "trend", "--start", yahoo.days[0]]
    assert run([*words, *options]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["rows"] == N_SESSIONS
    assert (tmp_path / "kept" / "live" / "live.db").exists()
