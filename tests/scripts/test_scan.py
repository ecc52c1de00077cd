"""The command scan as a person types it, against services on loopback."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from feeds.fundamentals_store import FundamentalsStore
from feeds.provider import Dated, Snapshot
from scripts.cli import run
from scripts.sources import read_symbols
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of
from tests.feeds.yahoo_fundamentals_server import NOT_FOUND, SUMMARY, YahooAnswers, summary
from tests.scripts.foreground import FOREGROUND
from tests.scripts.test_email import Inbox, serve
from tests.scripts.test_refresh_fundamentals import PATIENT, answers, environment
from universe.constituents import RUSSELL_2000, ConstituentStore
from universe.screen_record import ScreenStore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1
MAIN = Path(__file__).parents[2] / "main.py"
NS = 10**9


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def yahoo(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = YahooAnswers()
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        yield server


def of_size(market_cap: Any, **changes: Any) -> Reply:
    """What Yahoo says of a company of this market value."""
    detail = SUMMARY["summaryDetail"] | {"marketCap": market_cap} | changes
    price = SUMMARY["price"] | {"marketCap": market_cap}
    return summary(summaryDetail=detail, price=price)


COMPANIES = {
    "BIG": of_size(3e9),
    "MID": of_size(1.9e9),
    "LOW": of_size(6e7),
    "THIN": of_size(4e8, averageVolume=1_000),
    "WIDE": of_size(4e8, bid=18.0, ask=19.0),
    "NAN": summary(
        summaryDetail=SUMMARY["summaryDetail"] | {"marketCap": "NaN"}, price={"currency": "USD"},
        defaultKeyStatistics={}, financialData={},
    ),
    "FUND": summary(quoteType=SUMMARY["quoteType"] | {"quoteType": "ETF"}),
    "GONE": of(NOT_FOUND, 404),
    "HTML": Reply(200, b"<html>sorry</html>"),
}  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> dict[str, Any]:
    assert run(["scan", "--json", *options]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def passed(document: dict[str, Any]) -> list[str]:
    return [verdict["candidate"]["symbol"] for verdict in document["passed"]]


def test_every_candidate_is_ranked_fallen_or_skipped_with_its_reason(yahoo, capsys) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: COMPANIES[symbol]
    document = told(capsys, "--symbols", ",".join(COMPANIES).lower())
    assert document["headline"] == "Screened 9 candidates -> 2 passing filters"
    assert passed(document) == ["LOW", "MID"]  # smallest first
    fell = {v["candidate"]["symbol"]: v["failed"] for v in document["fallen"]}
    assert fell == {
        "BIG": "market_cap_max", "THIN": "min_daily_volume", "WIDE": "max_spread", "NAN": "market_cap_min"
    }  # fmt: skip
    assert set(document["skipped"]) == {"FUND", "GONE", "HTML"}
    assert "no share but of type etf" in document["skipped"]["FUND"]
    assert "GONE" in document["skipped"]["GONE"]
    assert "a web page" in document["skipped"]["HTML"]
    assert sum(step["fallen"] for step in document["funnel"]) + 2 + 3 == 9
    (low, mid) = document["passed"]
    assert low["candidate"]["market_cap_usd"] == 6e7
    assert mid["candidate"]["dollar_volume_usd"] == 500_000 * 18.5
    assert mid["candidate"]["spread"] == pytest.approx(0.2 / 18.5)


def test_the_report_has_headline_preview_funnel_and_skipped_within_80_columns(yahoo, capsys) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: COMPANIES[symbol]
    assert run(["scan", "--symbols", ",".join(COMPANIES)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Screened 9 candidates -> 2 passing filters"
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["LOW", "technology", "$60M", "$9.25M", "18.50", "1.1%", "41M"]
    assert "Skipped 3 symbols due to data issues:" in text
    assert "market_cap_max" in text


def test_a_screen_is_kept_and_its_names_can_be_written_and_traded(yahoo, home, capsys) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: COMPANIES[symbol]
    document = told(capsys, "--symbols", "LOW,MID,BIG", "--output", "names.csv")
    record = ScreenStore("data/universe").newest()
    assert record is not None
    assert [v.candidate.symbol for v in record.passed] == ["LOW", "MID"]
    assert {v.candidate.symbol: v.failed for v in record.fallen} == {"BIG": "market_cap_max"}
    kept = Path("data/universe/screens")
    assert [len(list(kept.glob(f"*{suffix}"))) for suffix in (".csv", ".json")] == [1, 1]
    assert read_symbols(Path("names.csv")) == ["LOW", "MID"]
    with Path("names.csv").open(newline="") as file:
        low = next(csv.DictReader(file))
    assert (low["market_cap"], low["exchange"], low["spread_source"]) == ("60000000.0", "NMS", "quote")
    assert "names.csv" in document["paths"]
    told(capsys, "--symbols", "LOW")
    assert len(list(kept.glob("*.json"))) == 2  # the first is not touched


def test_no_persist_keeps_nothing(yahoo, capsys) -> None:
    told(capsys, "--symbols", "AAA", "--no-persist")
    assert not Path("data/universe/screens").exists()


@pytest.mark.parametrize(
    ("quote_type", "why"),
    [("Common Stock", None), ("EQUITY", None), ("ETF", "no share but of type etf")],
)
def test_what_only_alpha_vantage_knows_is_a_share_by_its_word_for_it(home, capsys, quote_type, why) -> None:
    known = version("2026-01-10", quote_type=quote_type)
    store().append(msgspec.structs.replace(known, source="alpha_vantage"))
    document = told(capsys, "--symbols", "AAA", "--as-of", "2026-01-10")
    assert document["skipped"].get("AAA") == why
    assert passed(document) == ([] if why else ["AAA"])


def test_figures_of_before_that_stand_in_for_an_answer_are_told(yahoo, capsys) -> None:
    store().append(version("2026-01-10"))
    store().append(version("2026-01-10", "BBB"))
    yahoo.answer.on_summary = lambda asked, symbol: summary() if symbol == "AAA" else Reply(503)
    document = told(capsys, "--symbols", "AAA,BBB")
    assert passed(document) == ["BBB", "AAA"]
    assert document["notes"] == [
        "no new answer about BBB (Yahoo: out of order (503)): what was known before is used"
    ]


def test_what_is_fresh_is_not_asked_for_again_and_a_stopped_service_leaves_the_rest_for_later(
    yahoo, capsys
) -> None:
    told(capsys, "--symbols", "AAA,BBB")
    n = len(yahoo.asked)
    told(capsys, "--symbols", "AAA,BBB")
    assert len(yahoo.asked) == n
    answers(yahoo).on_summary = lambda asked, symbol: Reply(429, headers={"Retry-After": "900"})
    document = told(capsys, "--symbols", "AAA,CCC,DDD", "--output", "part.csv", code=1)
    assert passed(document) == ["AAA"]
    assert set(document["skipped"]) == {"CCC", "DDD"}
    assert any("stopped asking" in line for line in document["notes"])
    assert [Path(path).name for path in document["paths"]] == ["part.csv"]  # an incomplete screen is not kept
    answers(yahoo).on_summary = lambda asked, symbol: summary()
    assert passed(told(capsys, "--symbols", "AAA,CCC,DDD")) == ["AAA", "CCC", "DDD"]


def test_a_scan_that_nobody_answers_fails_and_is_not_kept(yahoo, capsys) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: Reply(503, b"")
    assert run(["scan", "--symbols", "AAA,BBB"]) == 1
    assert "no answer about 2 symbols, so the screen is not kept" in capsys.readouterr().err
    assert not Path("data/universe/screens").exists()


def test_a_scan_of_nothing_but_mistyped_symbols_does_not_ask_for_patience(yahoo, capsys) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: of(NOT_FOUND, 404)
    assert run(["scan", "--symbols", "AAAX"]) == 1
    assert capsys.readouterr().err == (
        "no service knows 1 symbol, and there is no other candidate, so the screen is not kept\n"
    )


def test_ctrl_c_keeps_what_was_fetched_and_the_next_scan_goes_on(yahoo, capsys) -> None:
    hangs = threading.Event()

    def answer(asked: Asked, symbol: str) -> Reply:
        if symbol != "HANG":
            return summary()
        hangs.set()
        return Reply(hang=True)

    answers(yahoo).on_summary = answer
    with subprocess.Popen(
        [*FOREGROUND, str(MAIN), "scan", "--symbols", "AAA,BBB,HANG,CCC"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | PATIENT,
    ) as command:  # fmt: skip
        assert hangs.wait(600)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=600)
    assert command.returncode == 130
    assert "interrupted: 2 of 4 are known" in err
    assert not Path("data/universe/screens").exists()
    yahoo.asked.clear()
    answers(yahoo).on_summary = lambda asked, symbol: summary()
    assert passed(told(capsys, "--symbols", "AAA,BBB,HANG,CCC")) == ["AAA", "BBB", "CCC", "HANG"]
    asked = {path.rsplit("/", 1)[1] for path in yahoo.paths() if path.startswith("/v10/")}
    assert asked == {"HANG", "CCC"}


def moment(day: str) -> int:
    return int(dt.datetime.fromisoformat(f"{day}T20:00:00+00:00").timestamp()) * NS


def version(day: str, symbol: str = "AAA", **changes: Any) -> Snapshot:
    fields = {
        "market_cap": 9e8, "average_dollar_volume": 9e6, "price": 18.0, "shares_outstanding": 5e7,
        "float_shares": 4e7, "sector": "Technology", "exchange": "NMS", "bid": 18.4, "ask": 18.6,
    }  # fmt: skip
    return Snapshot(symbol=symbol, source="yahoo", fetched_at=moment(day), **(fields | changes))


def store() -> FundamentalsStore:
    return FundamentalsStore(Path("data/universe/fundamentals"))


def test_as_of_a_day_only_what_was_known_then_counts_and_nobody_is_asked(home, capsys) -> None:
    store().append(version("2026-01-10", market_cap=9e8))
    store().append(version("2026-03-10", market_cap=8e9))
    for on, wanted in (("2026-01-10", ["AAA"]), ("2026-03-09", ["AAA"]), ("2026-03-10", [])):
        assert passed(told(capsys, "--symbols", "AAA", "--as-of", on)) == wanted
    early = told(capsys, "--symbols", "AAA", "--as-of", "2026-01-09")
    assert early["skipped"] == {"AAA": "nothing was known of it on 2026-01-09"}
    assert any("no prices of the time" in line for line in early["notes"])


@pytest.mark.parametrize("later", [{"market_cap": 1.0}, {"sector": "Energy"}, {"quote_type": "ETF"}])
def test_what_is_learned_a_day_later_changes_no_screen_before_it(home, capsys, later) -> None:
    store().append(version("2026-01-10"))
    before = told(capsys, "--symbols", "AAA", "--as-of", "2026-01-10", "--no-persist")
    store().append(version("2026-01-11", **later))
    after = told(capsys, "--symbols", "AAA", "--as-of", "2026-01-10", "--no-persist")
    for document in (before, after):
        document.pop("screened_at")
    assert before == after


def write_prices(path: Path, days: int = 60, factor_from: int | None = None) -> list[str]:
    """A hundred thousand shares a day at 20 dollars and a little more each day; later ones scaled."""
    sessions = [
        str(d) for d in np.busday_offset(np.datetime64("2026-01-05"), np.arange(days), roll="forward")
    ]
    lines = ["symbol,date,open,high,low,close,volume"]
    for i, day in enumerate(sessions):
        close = round((20 + i / 100) * (3 if factor_from is not None and i >= factor_from else 1), 2)
        lines.append(f"AAA,{day},{close},{close + 0.1:.2f},{close - 0.1:.2f},{close},{100_000 + i}")
    path.write_text("\n".join(lines) + "\n")
    return sessions


def test_prices_of_the_time_make_market_value_volume_and_spread(home, capsys) -> None:
    sessions = write_prices(home / "prices.csv")
    store().append(version("2026-01-02", bid=None, ask=None))
    on = sessions[40]
    document = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", on)
    (verdict,) = document["passed"]
    made = verdict["candidate"]
    assert made["price_usd"] == 20.4
    assert made["market_cap_usd"] == pytest.approx(20.4 * 5e7)
    wanted = [round(20 + i / 100, 2) * (100_000 + i) for i in range(20, 40)]  # the 20 bars before that close
    assert made["dollar_volume_usd"] == pytest.approx(sum(wanted) / 20)
    assert made["spread_source"] == "estimate"
    assert any("tells no splits" in line for line in document["notes"])
    write_prices(home / "prices.csv", factor_from=41)
    again = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", on)
    assert again["passed"] == document["passed"]  # later prices change nothing


@pytest.mark.parametrize("spelt", ["MOGA", "MOG.A", "MOG-A", "MOG/A"])
def test_prices_of_a_share_class_are_found_whichever_way_they_spell_it(home, capsys, spelt) -> None:
    sessions = write_prices(home / "prices.csv")
    text = (home / "prices.csv").read_text()
    (home / "prices.csv").write_text(text.replace("AAA,", f"{spelt},"))
    store().append(version("2026-01-02", "MOG-A"))
    document = told(capsys, "--symbols", "MOG.A", "--data", "prices.csv", "--as-of", sessions[40])
    assert [v["candidate"]["price_usd"] for v in document["passed"]] == [20.4]
    assert any("prices of 1 of 1 candidates" in line for line in document["notes"])


@pytest.mark.parametrize("field", ["shares_outstanding", "shares_history"])
def test_shares_fetched_before_a_split_are_those_of_after_it(home, capsys, field) -> None:
    sessions = write_prices(home / "prices.csv", days=60)
    lines = (home / "prices.csv").read_text().splitlines()
    reverse = [
        f"{line},{0.1 if i == 40 else 1}" for i, line in enumerate(lines[1:])
    ]  # one for ten, raw prices
    (home / "prices.csv").write_text("\n".join([f"{lines[0]},split_coefficient", *reverse]) + "\n")
    change = {field: (Dated(period_end="2025-09-30", value=5e8),) if field == "shares_history" else 5e8}
    store().append(version("2026-01-10", float_shares=4e8, **change))
    made = {}
    for on in (sessions[39], sessions[40]):
        document = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", on)
        (verdict,) = [*document["passed"], *document["fallen"]]
        made[on] = verdict["candidate"]
    before, after = made.values()
    assert before["market_cap_usd"] == pytest.approx(before["price_usd"] * 5e8)
    assert after["market_cap_usd"] == pytest.approx(after["price_usd"] * 5e7)
    assert (before["float_shares"], after["float_shares"]) == (4e8, pytest.approx(4e7))
    store().append(
        version(sessions[40], float_shares=4e7, shares_outstanding=5e7)
    )  # fetched after it: as it is
    document = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", sessions[41])
    (verdict,) = document["passed"]
    assert verdict["candidate"]["float_shares"] == 4e7


def test_a_share_that_most_days_do_not_trade_has_its_twenty_bars_all_the_same(home, capsys) -> None:
    sessions = write_prices(home / "prices.csv", days=110)
    lines = (home / "prices.csv").read_text().splitlines()
    seldom = [line for i, line in enumerate(lines[1:]) if i % 5 == 4]
    daily = [line.replace("AAA,", "BBB,") for line in lines[1:]]
    (home / "prices.csv").write_text("\n".join([lines[0], *seldom, *daily]) + "\n")
    store().append(version("2026-01-02"))
    document = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", sessions[-1])
    (verdict,) = document["passed"]
    wanted = [
        round(20 + i / 100, 2) * (100_000 + i) for i in range(9, 109, 5)
    ]  # 20 traded bars before the last
    assert verdict["candidate"]["dollar_volume_usd"] == pytest.approx(sum(wanted) / 20)


def test_a_share_that_no_longer_trades_has_no_price(home, capsys) -> None:
    write_prices(home / "prices.csv", days=30)
    store().append(version("2026-01-02"))
    document = told(capsys, "--symbols", "AAA", "--data", "prices.csv", "--as-of", "2026-05-01")
    assert any("prices of 0 of 1 candidates" in line for line in document["notes"])


def test_the_russell_2000_of_the_day_is_added_and_what_stands_in_is_said(home, capsys) -> None:
    files = ConstituentStore("data/universe").files(RUSSELL_2000)
    files.add(dt.date(2026, 1, 20), b"symbol,name,sector\nBBB,B Inc,Energy\n")
    files.add(dt.date(2026, 2, 20), b"symbol,name,sector\nCCC,C Inc,Energy\n")
    for symbol in ("AAA", "BBB", "CCC"):
        store().append(version("2026-01-02", symbol))
    options = ("--symbols", "AAA", "--include-russell", "--as-of")
    assert passed(told(capsys, *options, "2026-02-20")) == ["AAA", "BBB"]
    assert passed(told(capsys, *options, "2026-02-21")) == ["AAA", "CCC"]
    early = told(capsys, *options, "2026-01-15")
    assert passed(early) == ["AAA", "BBB"]
    assert any("that of 2026-01-20 stands in" in line for line in early["notes"])


def test_lists_of_old_load_and_rows_without_a_symbol_are_reported(home, capsys) -> None:
    (home / "seed.csv").write_text(
        "symbol,name,sector\nundefined,Alight  Inc.,Technology\nAAA,A,Technology\n"
    )
    Path("data/universe").mkdir(parents=True)
    Path("data/universe/russell_2000.csv").write_text("symbol\nBBB\n")
    store().append(version("2026-01-02"))
    store().append(version("2026-01-02", "BBB"))
    document = told(capsys, "--seed-candidates", "seed.csv", "--include-russell", "--as-of", "2026-02-02")
    assert passed(document) == ["AAA", "BBB"]
    assert "seed.csv: 1 row left out, no symbol: Alight  Inc. (line 2)" in document["notes"]
    assert any("russell_2000.csv has no date" in line for line in document["notes"])
    limited = told(
        capsys, "--seed-candidates", "seed.csv", "--include-russell", "--limit", "1", "--as-of", "2026-02-02"
    )
    assert passed(limited) == ["AAA"]


def test_unknown_sectors_are_reported(home, capsys) -> None:
    store().append(version("2026-01-02", sector="Shipping"))
    document = told(capsys, "--symbols", "AAA", "--as-of", "2026-01-02")
    assert document["unknown_sectors"] == {"Shipping": ["AAA"]}


def test_the_screen_is_mailed_with_its_names(home, serve, capsys, monkeypatch) -> None:
    inbox = Inbox()
    email = {
        "smtp_server": "127.0.0.1", "smtp_port": serve(inbox), "security": "none",
        "sender": "scan@example.com", "recipients": ["desk@example.com"],
    }  # fmt: skip
    (home / "settings.json").write_text(json.dumps({"email": email}))
    store().append(version("2026-01-02"))
    command = ["scan", "--symbols", "AAA", "--as-of", "2026-01-02", "--email"]
    assert run([*command, "--settings", "settings.json"]) == 0
    ((_, mail),) = inbox.mails
    assert mail["Subject"] == "[smallcap] Screened 1 candidates -> 1 passing filters, 2026-01-02"
    body, table = mail.iter_parts()
    assert "AAA  technology  $900M" in body.get_content()
    assert table.get_filename() == "screen-2026-01-02.csv"
    assert "AAA" in table.get_content()
    assert run(command) == 78
    assert "--email needs email.smtp_server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        ([], 2, "no candidates: give --symbols"),
        (["--symbols", ","], 2, "--symbols has an empty value"),
        (["--symbols", "A", "--seed-candidates", "x.csv"], 2, "are two sources"),
        (["--seed-candidates", "none.csv"], 65, "cannot be read"),
        (["--include-russell"], 65, "fetch one with refresh-russell"),
        (["--symbols", "A", "--as-of", "tomorrow"], 2, "--as-of must be a date"),
        (["--symbols", "A", "--as-of", "2999-01-01"], 2, "is in the future"),
        (["--symbols", "A", "--limit", "0"], 2, "limit"),
        (["--symbols", "A", "--as-of", "2026-01-02", "--data", "none.csv"], 65, "no such file"),
    ],
)
def test_mistakes_are_one_line(home, capsys, options: list[str], code: int, complaint: str) -> None:
    assert run(["scan", *options]) == code
    assert complaint in capsys.readouterr().err


__all__ = ["serve"]
