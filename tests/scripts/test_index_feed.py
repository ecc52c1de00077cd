"""backtest --universe: only members of the day are bought, and how far that is known is said."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from pathlib import Path

import pytest

from scripts.cli import run
from tests.feeds.yahoo_server import chart, yahoo_server
from tests.scripts.price_file import weekdays, write_prices
from universe.constituents import RUSSELL_2000, ConstituentStore

N_DAYS = 300
LEAVES = weekdays(N_DAYS)[150]  # BBBB is on no list from the day after on, CCCC joins then

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_prices(tmp_path / "prices.csv", n_days=N_DAYS)
    return tmp_path


def keep(day: str, *symbols: str) -> None:
    rows = "".join(f"{symbol},Energy,NYSE\n" for symbol in symbols)
    ConstituentStore("data/universe").files(RUSSELL_2000).add(
        dt.date.fromisoformat(day), f"symbol,sector,exchange\n{rows}".encode()
    )


@pytest.fixture
def lists() -> None:
    keep("2020-12-01", "AAAA", "BBBB", "GONE")
    keep(LEAVES, "AAAA", "CCCC", "GONE")


def replay(*options: str) -> int:
    command = ["backtest", "--data", "prices.csv", "--strategies", "trend", "--universe", "russell-2000"]
    return run([*command, *options])


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_name_is_bought_only_while_it_is_a_member_and_every_refusal_is_recorded(lists) -> None:
    assert replay("--output-dir", "out") == 0
    buys = [row for row in table("out/trades/signals.csv") if row["side"] == "BUY"]
    said = {(row["symbol"], row["date"]) for row in buys}
    refused = {
        (row["symbol"], row["date"])
        for row in table("out/trades/rejections.csv")
        if row["reason"] == "not_a_member"
    }
    assert {symbol for symbol, _ in said} == {"AAAA", "BBBB", "CCCC"}  # DDDD was never in the index
    outside = {(s, d) for s, d in said if (s == "BBBB" and d > LEAVES) or (s == "CCCC" and d <= LEAVES)}
    assert refused == outside
    assert {symbol for symbol, _ in refused} == {"BBBB", "CCCC"}
    orders = {(row["symbol"], row["date"]) for row in table("out/trades/orders.csv") if row["side"] == "BUY"}
    assert not orders & outside


def test_a_name_that_leaves_is_held_until_its_strategy_sells_it() -> None:
    everyone = ["backtest", "--data", "prices.csv", "--strategies", "trend", "--output-dir", "all"]
    assert run(everyone) == 0
    trades = [row for row in table("all/trades/trades.csv") if row["symbol"] == "BBBB"]
    trade = max(trades, key=lambda row: int(row["bars_held"]))
    keep("2020-12-01", "AAAA", "BBBB", "CCCC", "DDDD")
    keep(trade["entry_date"], "AAAA", "CCCC", "DDDD")
    assert replay("--output-dir", "out") == 0
    kept = [row for row in table("out/trades/trades.csv") if row["symbol"] == "BBBB"]
    assert (kept[-1]["entry_date"], kept[-1]["exit_date"], kept[-1]["exit_reason"]) == (
        trade["entry_date"], trade["exit_date"], trade["exit_reason"]
    )  # fmt: skip
    assert trade["entry_date"] < trade["exit_date"]


def test_results_do_not_depend_on_how_bars_are_cut(lists, capsys) -> None:
    told = []
    for rows in ("1", "7", "1024"):
        assert replay("--slab", rows, "--json") == 0
        told.append(json.loads(capsys.readouterr().out)["event_log_hash"])
    assert len(set(told)) == 1


def test_what_is_not_known_is_said_in_the_console_the_record_and_the_tear_sheet(capsys) -> None:
    keep(LEAVES, "AAAA", "BBBB", "GONE")
    assert replay("--output-dir", "out") == 0
    index = json.loads(Path("out/run.json").read_text())["index"]
    assert (index["first_list"], index["sessions"], index["sessions_before"]) == (LEAVES, N_DAYS, 151)
    assert (index["members"], index["priced"]) == (3, 2)
    sheet = Path("out/tearsheet.html").read_text()
    printed = " ".join(capsys.readouterr().out.split())
    for said in (
        f"the first list kept is of {LEAVES}; it stands in for earlier sessions (151 of 300)",
        "2 of its 3 members between",
    ):
        assert said in printed
        assert said in sheet
        assert any(said in note for note in index["notes"])


def test_lists_that_cover_all_sessions_give_no_warning(lists, capsys) -> None:
    assert replay("--output-dir", "out") == 0
    assert json.loads(Path("out/run.json").read_text())["index"]["sessions_before"] == 0
    assert "stands in" not in capsys.readouterr().out


def test_a_list_that_is_too_old_is_said_to_be(capsys) -> None:
    keep("2020-06-01", "AAAA")
    assert replay() == 0
    assert "the newest list is of 2020-06-01" in " ".join(capsys.readouterr().out.split())


def test_why_tells_of_a_refusal_and_opens_the_same_names_again(lists, capsys) -> None:
    assert replay("--output-dir", "out") == 0
    refused = next(
        row for row in table("out/trades/rejections.csv")
        if row["reason"] == "not_a_member" and row["symbol"] == "BBBB"
    )  # fmt: skip
    capsys.readouterr()
    assert run(["why", "BBBB", "out", "--date", refused["date"]]) == 0
    told = capsys.readouterr().out
    assert "refused BUY not_a_member" in told
    assert "cannot be opened" not in told


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--data", "prices.csv"], 65, "no list of the Russell 2000; fetch one with refresh-russell"),
        (["--data", "prices.csv", "--universe", "sp500"], 65, "fetch one with refresh-sp500"),
    ],
)
def test_without_a_list_there_is_no_run(options: list[str], code: int, complaint: str, capsys) -> None:
    assert run(["backtest", "--universe", "russell-2000", "--strategies", "trend", *options]) == code
    assert complaint in capsys.readouterr().err


def test_what_cannot_be_is_refused_in_one_line(lists, capsys) -> None:
    assert replay("--symbol", "DDDD") == 65
    assert "none of its symbols was in the Russell 2000" in capsys.readouterr().err
    assert run(["backtest", "--universe", "russell-2000", "--strategies", "trend"]) == 2
    assert "--universe without --data downloads from Yahoo" in capsys.readouterr().err
    assert run(["backtest", "--universe", "nasdaq"]) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1
def test_without_files_the_members_are_downloaded_and_a_look_back_asks_nobody(
    lists, capsys, monkeypatch
) -> None:
    days = weekdays(N_DAYS)
    with yahoo_server() as server:
        closes = {day: 20 + 5 * math.sin(i / 9) for i, day in enumerate(days)}
        server.answer = lambda symbol, n: (200, chart(symbol, closes))
        monkeypatch.setenv("TS_DATA_SOURCES__YAHOO_URL", server.url)
        options = ["--universe", "russell-2000", "--strategies", "trend", "--output-dir", "out"]
        assert run(["backtest", *options, "--start", days[0], "--end", days[-1]]) == 0
        n_asked = sum(server.asked.values())
        record = json.loads(Path("out/run.json").read_text())
        assert record["universe"] == ["AAAA", "BBBB", "CCCC", "GONE"]
        assert (record["index"]["members"], record["index"]["priced"]) == (4, 4)
        capsys.readouterr()
        assert run(["why", "AAAA", "out", "--date", days[100], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["problem"] is None
        assert run(["momentum", "russell", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["evaluated"] == 3
        assert sum(server.asked.values()) == n_asked
