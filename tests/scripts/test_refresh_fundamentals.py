"""The command refresh-fundamentals as a person types it, against services on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.cli import run
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server, of
from tests.feeds.test_alpha_vantage import DAILY, about
from tests.feeds.test_fundamentals_refresh import NO_FLOAT, bad
from tests.feeds.yahoo_fundamentals_server import YahooAnswers, summary
from tests.scripts.foreground import FOREGROUND

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1
CANARY = "canary-7f3a9"
PATIENT = {"TS_DATA_SOURCES__TIMEOUT_SECONDS": "100"}  # Longer than a test waits for an interrupted command


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = YahooAnswers()
        monkeypatch.chdir(tmp_path)
        for name, value in environment(server).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def alpha(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = about
        monkeypatch.setenv("TS_DATA_SOURCES__ALPHA_VANTAGE_URL", server.url)
        monkeypatch.setenv("TS_DATA_SOURCES__ALPHA_VANTAGE_CALLS_PER_MINUTE", "60000")
        monkeypatch.setenv("TS_ALPHA_VANTAGE_KEY", CANARY)
        yield server


def environment(server: FaultyServer) -> dict[str, str]:
    return {
        "TS_DATA_SOURCES__YAHOO_URL": server.url,
        "TS_DATA_SOURCES__YAHOO_CALLS_PER_MINUTE": "60000",
        "TS_DATA_SOURCES__BACKOFF_SECONDS": "0.001",
        "TS_DATA_SOURCES__RETRIES": "1",
        "TS_DATA_SOURCES__FUNDAMENTALS_WORKERS": "1",
    }


def answers(server: FaultyServer) -> YahooAnswers:
    assert isinstance(server.answer, YahooAnswers)
    return server.answer


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert run(["refresh-fundamentals", *arguments, "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_symbols_are_fetched_stored_and_counted(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["refresh-fundamentals", "--symbols", "aaa,BBB"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fetched 2 of 2 symbols"
    assert lines[1].startswith("known of 2: market cap 2, float 2, sector 2")
    assert lines[-1] == "kept in data/universe/fundamentals"
    assert sorted(path.name for path in Path("data/universe/fundamentals").glob("*.jsonl")) == [
        "AAA.jsonl", "BBB.jsonl",
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in lines)


def test_failures_are_a_table_of_what_and_why_and_the_rest_is_kept(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(yahoo).on_summary = bad
    assert run(["refresh-fundamentals", "--symbols", "AAA,GONE,HTML,BBB,EVIL,CUT"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "fetched 2 of 6 symbols, 4 failed"
    assert lines[3:-1] == [
        "failed  why",
        "GONE    Yahoo: no such symbol: delisted or renamed?",
        "HTML    Yahoo: a web page instead of an answer in JSON",
        "EVIL    Yahoo: a redirect to an address that is not of the public internet",
        "CUT     Yahoo: damaged or incomplete JSON instead of an answer in JSON",
    ]
    assert all(len(line) <= 80 for line in lines)


def test_what_is_fresh_is_skipped_and_counted_and_does_not_use_up_the_limit(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "--symbols", "AAA")
    first = told(capsys, "--symbols", "AAA,BBB,CCC", "--limit", "1")
    assert (first["fetched"], first["fresh"], first["not_asked"]) == (["BBB"], ["AAA"], [])
    assert told(capsys, "--symbols", "AAA,BBB,CCC", "--limit", "1")["fetched"] == ["CCC"]
    assert told(capsys)["fresh"] == ["AAA", "BBB", "CCC"]


def test_a_file_of_symbols_or_the_seed_list_is_read(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("names.csv").write_text("symbol,name,sector\nAAA,Triple A,Technology\n")
    assert told(capsys, "--symbols", "names.csv")["fetched"] == ["AAA"]
    Path("data/universe/seed_candidates.csv").write_text("symbol\nBBB\n")
    assert told(capsys)["fetched"] == ["BBB"]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            (),
            2,
            "no symbols: give --symbols A,B or a file, or put a list at data/universe/seed_candidates.csv",
        ),
        (("--symbols", ","), 2, "--symbols has an empty value"),
        (("--symbols", "names.csv"), 65, "--symbols names.csv: No such file"),
        (("--symbols", "AAA", "--throttle", "-1"), 2, "--throttle"),
        (("--symbols", "AAA", "--limit", "0"), 2, "--limit"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, line: str
) -> None:
    assert run(["refresh-fundamentals", *arguments]) == code
    assert line in capsys.readouterr().err
    assert yahoo.asked == []


def test_a_base_url_that_may_not_be_asked_is_a_setting_to_fix(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_DATA_SOURCES__YAHOO_URL", "http://example.com")
    assert run(["refresh-fundamentals", "--symbols", "AAA"]) == 78
    assert "must begin with https://" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["refresh-fundamentals", "scan"])
def test_without_yfinance_its_install_command_is_named(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delitem(sys.modules, "feeds.yahoo_fundamentals", raising=False)
    monkeypatch.delitem(sys.modules, "feeds.yahoo_session", raising=False)
    monkeypatch.setitem(sys.modules, "yfinance.data", None)  # importing it fails
    assert run([command, "--symbols", "AAA"]) == 69
    assert capsys.readouterr().err == "error: fundamentals of Yahoo need yfinance: pip install yfinance\n"


def test_a_service_that_stops_the_run_is_a_failure_that_says_what_was_not_asked(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: Reply(429, headers={"Retry-After": "900"})
    assert run(["refresh-fundamentals", "--symbols", "AAA,BBB,CCC"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("fetched 0 of 3 symbols, 1 failed, 2 not asked\n")
    assert "stopped asking Yahoo: too many requests (429), asks to wait 900 s" in out


def test_one_symbol_that_is_gone_is_no_failure_of_a_run_whose_rest_is_fresh(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(yahoo).on_summary = bad
    told(capsys, "--symbols", "AAA")
    assert list(told(capsys, "--symbols", "AAA,GONE")["failed"]) == ["GONE"]
    assert list(told(capsys, "--symbols", "GONE", code=1)["failed"]) == ["GONE"]


def test_alpha_vantage_fills_in_and_its_quota_is_told(
    yahoo: FaultyServer, alpha: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(yahoo).on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    assert run(["refresh-fundamentals", "--symbols", "AAA"]) == 0
    assert "Alpha Vantage filled in for 1" in capsys.readouterr().out
    alpha.answer = lambda asked: of({"Information": DAILY})
    assert run(["refresh-fundamentals", "--symbols", "BBB"]) == 0
    assert "stopped asking Alpha Vantage: says that today's requests are used up" in capsys.readouterr().out


@pytest.mark.parametrize("fault", [Reply(500), Reply(401), Reply(200, b"<html>"), of({"Note": CANARY})])
def test_the_key_is_neither_printed_nor_logged_nor_stored(
    yahoo: FaultyServer, alpha: FaultyServer, tmp_path: Path, fault: Reply
) -> None:
    """In a process of its own: --verbose sets up logging for good."""
    answers(yahoo).on_summary = lambda asked, symbol: summary(**NO_FLOAT)
    alpha.answer = lambda asked: fault
    main = Path(__file__).parents[2] / "main.py"
    done = subprocess.run(
        [sys.executable, str(main), "--verbose", "refresh-fundamentals", "--symbols", "AAA", "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0
    assert [asked.query["apikey"] for asked in alpha.asked] == [CANARY] * len(alpha.asked) != []
    assert "DEBUG" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_ctrl_c_keeps_what_was_fetched_and_does_not_wait_for_a_server_that_hangs(yahoo: FaultyServer) -> None:
    hangs = threading.Event()

    def answer(asked: Asked, symbol: str) -> Reply:
        if symbol != "HANG":
            return summary()
        hangs.set()
        return Reply(hang=True)

    answers(yahoo).on_summary = answer
    main = Path(__file__).parents[2] / "main.py"
    with subprocess.Popen(
        [*FOREGROUND, str(main), "refresh-fundamentals", "--symbols", "AAA,BBB,HANG,CCC", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | PATIENT,
    ) as command:  # fmt: skip
        assert hangs.wait(600)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=600)
    assert command.returncode == 130
    document = json.loads(out)
    assert (document["fetched"], document["not_asked"]) == (["AAA", "BBB"], ["HANG", "CCC"])
    assert document["interrupted"]
    assert "interrupted: what was fetched is kept" in err
    assert sorted(path.stem for path in Path("data/universe/fundamentals").glob("*.jsonl")) == ["AAA", "BBB"]
