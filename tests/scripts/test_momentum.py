"""The command momentum on a small price file."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path

import pytest

from feeds.fundamentals_store import FundamentalsStore
from feeds.provider import Snapshot
from scripts.cli import run
from tests.scripts.price_file import weekdays, write_prices
from universe.constituents import RUSSELL_2000, ConstituentStore

N_DAYS = 420
pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_prices(tmp_path / "prices.csv", n_days=N_DAYS, symbols=("AAAA", "BBBB", "CCCC", "IWM"))
    return tmp_path


def keep(day: str, *symbols: str) -> None:
    rows = "".join(f"{symbol},{symbol} Inc,Energy,NYSE\n" for symbol in symbols)
    ConstituentStore("data/universe").files(RUSSELL_2000).add(
        dt.date.fromisoformat(day), f"symbol,name,sector,exchange\n{rows}".encode()
    )


def told(capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert run(["momentum", "russell", "--data", "prices.csv", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def closes(symbol: str) -> dict[str, float]:
    with Path("prices.csv").open(newline="") as file:
        return {row["date"]: float(row["close"]) for row in csv.DictReader(file) if row["symbol"] == symbol}


def test_members_of_the_day_are_ranked_by_their_change_over_the_fund(capsys) -> None:
    keep("2020-12-01", "AAAA", "BBBB", "GONE")
    found = told(capsys, "--timeframe", "week")
    days = weekdays(N_DAYS)
    last, week = days[-1], days[-6]
    assert (found["as_of"], found["evaluated"], found["baseline"]) == (last, 2, "IWM")
    assert found["skipped"]["no prices"] == 1
    change = {name: closes(name)[last] / closes(name)[week] - 1 for name in ("AAAA", "BBBB", "IWM")}
    assert found["baseline_change"] == pytest.approx(change["IWM"], rel=1e-12)
    rows = {row["symbol"]: row for row in found["risers"]}
    assert [row["symbol"] for row in found["risers"]] == sorted(rows, key=lambda s: -change[s])
    for symbol, row in rows.items():
        assert row["change"] == pytest.approx(change[symbol], rel=1e-12)
        assert row["excess"] == pytest.approx(change[symbol] - change["IWM"], rel=1e-9)
        assert (row["name"], row["sector"], row["reference_date"]) == (f"{symbol} Inc", "Energy", week)
        assert row["relative_volume"] == 1.0
        assert set(row["scores"]) == {
            "dan_zanger_cup_handle", "can_slim", "trend_following", "livermore_breakout"
        }  # fmt: skip
    fell = [row["symbol"] for row in found["underperformers"]]
    assert fell == sorted((s for s in rows if change[s] < 0), key=lambda s: change[s])


def test_another_benchmark_goes_by_its_own_name(capsys) -> None:
    keep("2020-12-01", "AAAA", "BBBB")
    found = told(capsys, "--timeframe", "week", "--benchmark", "prices.csv:bbbb")
    change = closes("BBBB")[weekdays(N_DAYS)[-1]] / closes("BBBB")[weekdays(N_DAYS)[-6]] - 1
    assert (found["baseline"], found["baseline_change"]) == ("BBBB", pytest.approx(change, rel=1e-12))
    assert run(["momentum", "russell", "--data", "prices.csv", "--benchmark", "prices.csv:BBBB"]) == 0
    assert "2 names, BBBB " in capsys.readouterr().out


def test_fundamentals_that_are_there_and_not_used_are_named(home, capsys, monkeypatch) -> None:
    keep("2020-12-01", "AAAA", "BBBB")
    folder = home / "data/universe/fundamentals"
    FundamentalsStore(folder).append(Snapshot(symbol="AAAA", source="yahoo", fetched_at=1, roe=0.2))
    without = "can_slim is scored without earnings: fundamentals.json_dir names none"
    assert (
        f"{without}; those that refresh-fundamentals fetched are in {folder.relative_to(home)}"
        in (told(capsys)["notes"])
    )
    monkeypatch.setenv("TS_FUNDAMENTALS__JSON_DIR", str(folder))
    assert not any(without in note for note in told(capsys)["notes"])


def test_the_newest_signals_are_those_that_a_backtest_gives(capsys) -> None:
    keep("2020-12-01", "AAAA", "BBBB", "CCCC")
    found = told(capsys)
    assert run([
        "backtest", "--data", "prices.csv", "--strategies", "trend", "--universe", "russell-2000",
        "--output-dir", "out",
    ]) == 0  # fmt: skip
    with Path("out/trades/signals.csv").open(newline="") as file:
        newest = {row["symbol"]: row for row in csv.DictReader(file)}
    days = weekdays(N_DAYS)
    for row in found["risers"]:
        score, signal = row["scores"]["trend_following"], newest[row["symbol"]]
        assert score["side"] == signal["side"]
        assert score["confidence"] == pytest.approx(float(signal["confidence"]), rel=1e-9)
        assert score["age_sessions"] == len(days) - 1 - days.index(signal["date"])


def test_the_table_fits_and_says_what_is_missing(home, capsys) -> None:
    keep("2024-05-13", "AAAA", "BBBB")
    write_prices(home / "alone.csv", n_days=80, symbols=("AAAA", "BBBB"))
    assert run(["momentum", "russell", "--data", "alone.csv"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "no list is as old as" in out
    assert "no IWM in these prices" in out
    assert "risers" in out


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["russell", "--data", "prices.csv"], 65, "fetch one with refresh-russell"),
        (["sp500"], 65, "fetch one with refresh-sp500"),
        (["nasdaq"], 2, "not one of"),
        (["russell", "--timeframe", "year"], 2, "not one of"),
    ],
)
def test_mistakes_are_one_line(options: list[str], code: int, complaint: str, capsys) -> None:
    assert run(["momentum", *options]) == code
    assert complaint in capsys.readouterr().err


def test_prices_that_are_not_there_are_named(capsys) -> None:
    keep("2020-12-01", "ZZZZ")
    assert run(["momentum", "russell", "--data", "prices.csv"]) == 65
    assert "holds no member of the Russell 2000" in capsys.readouterr().err
    assert run(["momentum", "russell"]) == 65
    assert "name a file or folder of them with --data" in capsys.readouterr().err
