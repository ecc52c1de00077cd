"""The command `why` on a run of a small price file."""

import json
import math
from pathlib import Path

import pytest

from scripts.cli import run
from strategies import registry
from tests.feeds.yahoo_server import chart, yahoo_server
from tests.scripts.price_file import weekdays, write_prices

N_DAYS = 160
MINE = """
import strategies.registry
from strategies.base import RowStrategy

@strategies.registry.register
class Mine(RowStrategy):
    name = "mine"
    def on_row(self, row):
        print("a row")
"""

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture
def directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = str(write_prices(tmp_path / "prices.csv", n_days=N_DAYS))
    names = ["trend", "livermore", "canslim"]
    assert run(["backtest", "--data", data, "--strategies", *names, "--output-dir", "out"]) == 0
    capsys.readouterr()
    return "out"


def asked(capsys, *options):
    assert run(["why", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_life_holds_signals_orders_fills_and_trades_in_time_order(directory, capsys):
    life = asked(capsys, "AAAA", directory)
    kinds = {event["kind"] for event in life["events"]}
    assert kinds >= {"signal", "order", "fill", "trade"}
    dates = [event["date"] for event in life["events"]]
    assert dates == sorted(dates)
    signal = next(event for event in life["events"] if event["kind"] == "signal")
    assert signal["measurements"]["fast"] > 0


def test_a_day_without_a_signal_names_the_condition_that_failed_and_by_how_much(directory, capsys):
    day = asked(capsys, "AAAA", directory, "--date", weekdays(N_DAYS)[100])
    assert day["problem"] is None
    found = {each["strategy"]: each for each in day["no_signal"]}
    assert found["livermore_breakout"]["condition"] == "volume"
    assert found["livermore_breakout"]["checks"][-1]["measured"] == "1.00x the 20-bar mean"
    assert found["can_slim"]["condition"] == "warmup"
    assert found["can_slim"]["checks"][0]["measured"] == "100 bars before this one"


def test_a_day_of_a_strategy_of_ones_own_is_explained_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    (tmp_path / "mine.py").write_text(MINE)
    data = str(write_prices(tmp_path / "prices.csv", n_days=N_DAYS))
    words = ["--data", data, "--strategy-module", "mine.py", "--strategies", "mine", "--output-dir", "out"]
    assert run(["backtest", *words]) == 0
    registry._registered.clear()
    capsys.readouterr()
    day = asked(capsys, "AAAA", "out", "--date", weekdays(N_DAYS)[100])
    assert day["problem"] is None
    assert [each["strategy"] for each in day["no_signal"]] == ["mine"]


def test_the_text_fits_80_columns_and_a_signal_day_is_not_explained_away(directory, capsys):
    signal = next(e for e in asked(capsys, "AAAA", directory)["events"] if e["kind"] == "signal")
    assert run(["why", "aaaa", directory, "--date", signal["date"]]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "trend_following: signal" in shown
    assert "trend_following: no signal" not in shown
    assert "livermore_breakout: no signal: volume: 1.00x the 20-bar mean, needs 1.3x" in " ".join(
        shown.split()
    )


def test_a_misspelt_symbol_is_wrong_usage_with_the_closest_ones(directory, capsys):
    assert run(["why", "AAAB", directory]) == 2
    assert "did you mean AAAA" in capsys.readouterr().err


def test_a_misspelt_symbol_is_said_before_the_data_are_opened(directory, capsys):
    Path("prices.csv").unlink()
    for options in ([], ["--date", "2021-05-03"]):
        assert run(["why", "EAAA", directory, *options]) == 2
        assert "EAAA: no such symbol in out; did you mean" in capsys.readouterr().err


def test_a_symbol_that_never_signalled_is_known_all_the_same(directory, capsys):
    path = Path(directory, "run.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "universe": [*record["universe"], "QUIET"]}))
    assert asked(capsys, "QUIET", directory)["events"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1
def test_a_run_on_bars_from_yahoo_is_explained_from_the_cache(tmp_path, monkeypatch, capsys):
    days = weekdays(N_DAYS)
    monkeypatch.chdir(tmp_path)
    with yahoo_server() as server:
        closes = {day: 20 + 5 * math.sin(i / 9) for i, day in enumerate(days)}
        server.answer = lambda symbol, n: (200, chart(symbol, closes))
        monkeypatch.setenv("TS_DATA_SOURCES__YAHOO_URL", server.url)
        options = ["--symbol", "AAA", "BBB", "--strategies", "trend", "livermore", "--output-dir", "out"]
        assert run(["backtest", *options, "--start", days[0], "--end", days[-1]]) == 0
        asked_before = sum(server.asked.values())
        capsys.readouterr()
        day = asked(capsys, "AAA", "out", "--date", days[100])
        assert sum(server.asked.values()) == asked_before
    assert day["problem"] is None
    assert {each["strategy"] for each in day["no_signal"]} >= {"livermore_breakout"}
    Path("data/prices/yahoo/BBB.parquet").unlink()
    assert "have changed" in asked(capsys, "AAA", "out", "--date", days[100])["problem"]


def test_a_day_that_is_no_session_names_its_neighbours(directory, capsys):
    problem = asked(capsys, "AAAA", directory, "--date", "2021-01-09")["problem"]
    assert "2021-01-08 and 2021-01-11" in problem


def test_changed_or_missing_data_are_said_and_the_files_still_shown(directory, capsys):
    date = asked(capsys, "AAAA", directory)["events"][0]["date"]
    path = Path("prices.csv")
    path.write_text(path.read_text().replace("2000000", "2000001", 1))
    day = asked(capsys, "AAAA", directory, "--date", date)
    assert "the data have changed since the run" in day["problem"]
    assert day["events"]
    assert day["no_signal"]
    path.unlink()
    day = asked(capsys, "AAAA", directory, "--date", date)
    assert "cannot be opened" in day["problem"]
    assert day["events"]


def test_a_run_without_run_json_shows_what_the_files_hold(directory, capsys):
    Path(directory, "run.json").unlink()
    assert asked(capsys, "AAAA", directory)["events"]
    assert "run.json" in asked(capsys, "AAAA", directory, "--date", "2021-05-03")["problem"]
