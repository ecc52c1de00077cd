"""The command schedule-fundamentals as a person types it, against services on loopback."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.date import DateTrigger
from filelock import FileLock

from feeds.fundamentals_refresh import Outcome
from scripts import schedule_fundamentals
from scripts.cli import run
from scripts.schedule_fundamentals import LOCK, Cycle
from tests.feeds.faulty_server import Asked, FaultyServer, Reply, faulty_server
from tests.feeds.yahoo_fundamentals_server import YahooAnswers, summary

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # yfinance 1.7 on pandas 3.1
FOLDER = Path("data/universe")
METADATA = FOLDER / "sector_metadata.csv"


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.answer = YahooAnswers()
        monkeypatch.chdir(tmp_path)
        for name, value in {
            "DATA_SOURCES__YAHOO_URL": server.url,
            "DATA_SOURCES__YAHOO_CALLS_PER_MINUTE": "60000",
            "DATA_SOURCES__BACKOFF_SECONDS": "0.001",
            "DATA_SOURCES__RETRIES": "1",
            "DATA_SOURCES__FUNDAMENTALS_WORKERS": "1",
            "AUTOMATION__FUNDAMENTALS_REFRESH__THROTTLE_SECONDS": "0",
            "AUTOMATION__FUNDAMENTALS_REFRESH__VALIDATION__MIN_SYMBOLS": "2",
        }.items():
            monkeypatch.setenv(f"TS_{name}", value)
        FOLDER.mkdir(parents=True)
        (FOLDER / "seed_candidates.csv").write_text("symbol,name,sector\nAAA,=Triple A,Technology\nBBB,,\n")
        yield server


def on_summary(server: FaultyServer, answer: Any) -> None:
    assert isinstance(server.answer, YahooAnswers)
    server.answer.on_summary = answer


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert run(["schedule-fundamentals", "--run-once", "--json", *arguments]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_one_cycle_publishes_the_sector_of_every_name(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (FOLDER / "sp500.csv").write_text("symbol,name,sector\nBRK-B,Berkshire,Financial Services\nAAA,,Energy\n")
    document = told(capsys, "--include-sp500", "--skip-russell")
    assert (document["asked"], document["usable"], document["fetched"]) == (3, 3, ["AAA", "BBB", "BRK-B"])
    header, *rows = METADATA.read_text().splitlines()
    assert header == "symbol,name,sector,universe,fetched_at"
    assert [row.rsplit(",", 1)[0] for row in rows] == [
        "AAA,'=Triple A,technology,small_cap",
        'BBB,"Triple A, Inc.",technology,small_cap',
        'AAA,"Triple A, Inc.",technology,sp500',
        "BRK-B,Berkshire,technology,sp500",
    ]
    stamp = datetime.fromisoformat(rows[0].rsplit(",", 1)[1])
    assert timedelta(0) <= datetime.now(UTC) - stamp < timedelta(minutes=5)
    assert told(capsys, "--skip-russell")["fresh"] == ["AAA", "BBB"]


def test_names_without_a_sector_are_left_out_of_the_metadata_and_told(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = summary(assetProfile={"sector": ""})
    on_summary(yahoo, lambda asked, symbol: blank if symbol == "BBB" else summary())
    assert told(capsys, "--skip-russell")["unknown_sectors"] == {"": ["BBB"]}
    assert run(["schedule-fundamentals", "--run-once", "--skip-russell"]) == 0
    assert "no sector, so not in the metadata: BBB\n" in capsys.readouterr().out
    assert [line.split(",")[0] for line in METADATA.read_text().splitlines()] == ["symbol", "AAA"]


def test_a_breach_keeps_the_last_good_metadata_and_is_a_failure(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(capsys, "--skip-russell")["breaches"] == []
    good = METADATA.read_bytes()
    monkeypatch.setenv("TS_FUNDAMENTALS__CACHE_TTL_DAYS", "0")
    monkeypatch.setenv("TS_AUTOMATION__FUNDAMENTALS_REFRESH__VALIDATION__MIN_SYMBOLS", "20")
    on_summary(yahoo, lambda asked, symbol: summary(assetProfile={"sector": "Energy"}))
    assert run(["schedule-fundamentals", "--run-once", "--skip-russell"]) == 1
    printed = capsys.readouterr()
    assert "refused: 2 usable symbols, at least 20 wanted (min_symbols)" in printed.err
    assert "the sector metadata of 20" in printed.err
    assert METADATA.read_bytes() == good


def test_symbols_that_cannot_be_fetched_count_against_the_coverage(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["symbol", *(f"S{i}" for i in range(9)), "BAD1", "BAD2", "BAD3"]
    (FOLDER / "seed_candidates.csv").write_text("\n".join(names))
    on_summary(yahoo, lambda asked, symbol: Reply(404) if symbol.startswith("BAD") else summary())
    document = told(capsys, "--skip-russell", code=1)
    assert (document["usable"], sorted(document["failed"])) == (9, ["BAD1", "BAD2", "BAD3"])
    assert document["breaches"] == ["75.0% of 12 symbols usable, at least 80.0% wanted (min_coverage)"]
    assert not METADATA.exists()


def test_a_second_run_is_refused_while_one_is_under_way(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(FOLDER / LOCK):
        assert run(["schedule-fundamentals", "--run-once", "--skip-russell"]) == 1
    assert "another refresh is under way" in capsys.readouterr().err
    assert yahoo.asked == []
    told(capsys, "--skip-russell")


def test_death_in_the_middle_leaves_the_old_metadata_whole_and_the_lock_free(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told(capsys, "--skip-russell")
    good = METADATA.read_bytes()
    monkeypatch.setenv("TS_FUNDAMENTALS__CACHE_TTL_DAYS", "0")
    hangs = threading.Event()

    def answer(asked: Asked, symbol: str) -> Reply:
        if symbol == "BBB" and not hangs.is_set():
            hangs.set()
            return Reply(hang=True)
        return summary(assetProfile={"sector": "Energy"})

    on_summary(yahoo, answer)
    main = Path(__file__).parents[2] / "main.py"
    with subprocess.Popen(
        [sys.executable, str(main), "schedule-fundamentals", "--run-once", "--skip-russell"],
        stderr=subprocess.PIPE,
    ) as command:
        assert hangs.wait(600)
        command.kill()
        command.communicate(timeout=600)
    assert METADATA.read_bytes() == good
    told(capsys, "--skip-russell")
    assert ",energy," in METADATA.read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "line"),
    [
        (("--skip-russell",), {}, 78, "automation.fundamentals_refresh.enabled is false; set it to true"),
        (("--run-once", "--include-nasdaq"), {}, 2, "No such option: --include-nasdaq"),
        (
            ("--run-once",),
            {"TS_AUTOMATION__FUNDAMENTALS_REFRESH__TIMEZONE": "Mars/Olympus"},
            78,
            "expected a time zone such as America/New_York",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], environment: dict[str, str], code: int, line: str,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["schedule-fundamentals", *arguments]) == code
    assert line in capsys.readouterr().err
    assert yahoo.asked == []


def test_without_apscheduler_its_install_command_is_named(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "universe.schedule", raising=False)
    monkeypatch.setitem(sys.modules, "apscheduler.triggers.base", None)  # importing it fails
    assert run(["schedule-fundamentals", "--force"]) == 69
    assert capsys.readouterr().err == "error: the schedule needs apscheduler: pip install apscheduler\n"


def test_without_any_list_the_remedy_is_named(
    yahoo: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (FOLDER / "seed_candidates.csv").unlink()
    assert run(["schedule-fundamentals", "--run-once"]) == 2
    assert "no names to refresh: put a list at" in capsys.readouterr().err


def test_the_loop_goes_on_after_a_cycle_that_failed_and_ends_at_sigterm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    began = []

    async def cycle() -> Cycle:
        began.append(None)
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("the disk is on fire")

    def tell(done: Cycle) -> None:
        raise AssertionError("nothing to tell of a failed cycle")

    now = DateTrigger(datetime.now(UTC))
    asyncio.run(asyncio.wait_for(schedule_fundamentals._loop(now, cycle, tell), 600))
    assert began == [None]
    assert "the disk is on fire" in capsys.readouterr().err


def test_a_cycle_under_way_at_sigterm_is_broken_off_in_one_line(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def cycle() -> Cycle:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(600)
        raise AssertionError("the loop should have ended")

    now = DateTrigger(datetime.now(UTC))
    asyncio.run(asyncio.wait_for(schedule_fundamentals._loop(now, cycle, lambda done: None), 600))
    assert "the refresh under way is broken off: what was fetched is kept\n" in capsys.readouterr().err
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_what_a_good_cycle_did_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told_of = []

    async def cycle() -> Cycle:
        return Cycle(datetime.now(UTC), Outcome())

    def tell(done: Cycle) -> None:
        told_of.append(done)
        os.kill(os.getpid(), signal.SIGTERM)

    now = DateTrigger(datetime.now(UTC))
    asyncio.run(asyncio.wait_for(schedule_fundamentals._loop(now, cycle, tell), 600))
    assert len(told_of) == 1
