"""doctor tells what works and what to do about what does not, whatever state the machine is in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.cli import run
from storage.database import database_url
from storage.trials import Trial, record_trial
from tests.feeds.faulty_server import FaultyServer, faulty_server
from tests.scripts.test_email import Inbox, Server

CANARY = "canary-91c2e"


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        monkeypatch.chdir(tmp_path)
        for name in ("YAHOO_URL", "ALPHA_VANTAGE_URL", "RUSSELL_2000_URL", "SP500_URL"):
            monkeypatch.setenv(f"TS_DATA_SOURCES__{name}", server.url)
        yield server


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    kept = Inbox()
    server = Server(kept, hostname="127.0.0.1", port=0)
    server.start()
    settings = {
        "ENABLED": "true", "SMTP_SERVER": "127.0.0.1", "SMTP_PORT": str(server.port),
        "SECURITY": "none", "SENDER": "desk@example.org", "RECIPIENTS": '["pm@example.org"]',
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"TS_EMAIL__{name}", value)
    yield kept
    server.stop()


def findings(
    capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0
) -> dict[tuple[str, str], dict[str, Any]]:
    assert run(["doctor", "--json", *arguments]) == code
    listed = json.loads(capsys.readouterr().out)
    return {(finding["section"], finding["name"]): finding for finding in listed}


def test_a_new_folder_is_well_and_says_what_would_fill_it(
    services: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    told = findings(capsys)
    assert told["versions", "packages"]["state"] == "ok"
    assert told["data", "Russell 2000"]["state"] == "off"
    assert told["data", "Russell 2000"]["remedy"] == "refresh-russell"
    assert told["services", "Yahoo"]["state"] == "ok"
    assert told["services", "Alpha Vantage"]["detail"] == "no key"
    assert told["e-mail", "server"]["state"] == "off"
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[-1].endswith("not in use")
    assert not Path("data").exists()


def test_each_setting_that_is_no_default_is_told_with_its_origin_and_no_secret(
    services: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_ALPHA_VANTAGE_KEY", CANARY)
    Path("mine.json").write_text(
        '{"risk_management": {"max_positions": 7, "sector_limits": {"energy": 0.2}}}'
    )
    assert run(["doctor", "--settings", "mine.json", "--json"]) == 0
    printed = capsys.readouterr().out
    assert CANARY not in printed
    told = {finding["name"]: finding["detail"] for finding in json.loads(printed)}
    assert told["risk_management.max_positions"] == "7  (mine.json)"
    assert told["risk_management.sector_limits.energy"] == "0.2  (mine.json)"
    assert told["data_sources.alpha_vantage_key"].startswith("***  (")
    assert "risk_management.max_name" not in told


def test_a_schedule_for_scans_that_starts_nothing_is_told(
    services: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ("configuration", "automation.scan") not in findings(capsys)
    Path("mine.json").write_text('{"automation": {"scan": {"enabled": true}}}')
    told = findings(capsys, "--settings", "mine.json")["configuration", "automation.scan"]
    assert (told["state"], told["remedy"]) == ("warn", "run `scan` from cron or Task Scheduler")


def test_bad_settings_are_a_finding_and_the_rest_is_looked_at_all_the_same(
    services: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.json").write_text('{"risk_management": {"max_positions": 0}}')
    told = findings(capsys, "--settings", "mine.json", code=1)
    assert told["configuration", "settings"]["detail"] == (
        "mine.json: risk_management.max_positions: expected int >= 1, got 0"
    )
    assert ("data", "free space") in told


def test_a_service_out_of_reach_is_worth_a_look_and_no_failure(
    services: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_DATA_SOURCES__YAHOO_URL", "http://127.0.0.1:9")
    told = findings(capsys)
    assert told["services", "Yahoo"]["state"] == "warn"
    assert "cached data serve meanwhile" in told["services", "Yahoo"]["remedy"]


def test_a_folder_that_cannot_be_used_is_a_failure(
    services: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data").write_text("a file, not a folder")
    told = findings(capsys, code=1)
    assert told["data", "data"]["state"] == "fail"
    assert "cannot be written" in told["data", "data"]["detail"]


@pytest.mark.usefixtures("services")
def test_one_configuration_is_told_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    trial = Trial("market", "first", "2026-01-01", "backtest", 0.1, 250, None, None, "hash", "label")
    record_trial(database_url("data", None), trial)
    assert findings(capsys)["data", "database"]["detail"] == "data/smallcap.db: 1 configuration tried"


def test_a_damaged_database_is_a_failure(services: FaultyServer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data").mkdir()
    Path("data/smallcap.db").write_bytes(b"this is no database, whatever its name says" * 100)
    assert findings(capsys, code=1)["data", "database"]["state"] == "fail"


@pytest.mark.usefixtures("services")
def test_the_mail_server_is_asked_and_a_test_message_sent_only_when_wanted(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings(capsys)["e-mail", "server"]["state"] == "ok"
    assert inbox.mails == []
    told = findings(capsys, "--send-test-email")
    assert told["e-mail", "test message"]["detail"] == "accepted for 1 recipient"
    assert len(inbox.mails) == 1
    assert inbox.mails[0][1]["Subject"] == "[smallcap] test message"


@pytest.mark.usefixtures("services", "inbox")
def test_a_server_without_the_encryption_asked_for_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_EMAIL__SECURITY", "starttls")
    told = findings(capsys, code=1)
    assert told["e-mail", "server"]["state"] == "fail"
    assert "STARTTLS" in told["e-mail", "server"]["detail"]


@pytest.mark.usefixtures("services")
def test_incomplete_mail_settings_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TS_EMAIL__ENABLED", "true")
    told = findings(capsys, code=1)
    problems = [finding["detail"] for finding in told.values() if finding["state"] == "fail"]
    assert len(problems) == 1
    assert "email" in problems[0]
