"""refresh-russell and refresh-sp500 from the command line, against a server on loopback."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cli import run
from tests.feeds.faulty_server import FaultyServer, Reply, faulty_server
from tests.universe.index_lists import export, names
from universe.constituents import INDICES, RUSSELL_2000, SP500, ConstituentStore

LAST = dt.date(2025, 5, 13)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = {"data_sources": {"retries": 1, "backoff_seconds": 0.01, "timeout_seconds": 60.0}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as found:
        yield found


def refresh(*options: str) -> int:
    return run(["refresh-russell", "--settings", "settings.json", *options])


def lists() -> list[str]:
    return [day.isoformat() for day in ConstituentStore("data/universe").files(RUSSELL_2000).newest()]


@pytest.fixture
def kept(home: Path) -> None:
    (home / "first.csv").write_bytes(export(LAST, names(1_900)))
    assert refresh("--run-once", "--file", "first.csv") == 0


def test_the_list_of_a_url_is_kept_by_its_date_and_changes_are_told(kept, server, capsys) -> None:
    body = export(dt.date(2026, 5, 5), [*names(1_880), "NEWA"])
    server.answer = lambda asked: Reply(200, body)
    assert refresh("--url", f"{server.url}/holdings.ajax?fileType=csv&fileName=IWM") == 0
    assert server.asked[0].path == "/holdings.ajax"
    assert server.asked[0].query == {"fileType": "csv", "fileName": "IWM"}
    assert lists() == ["2025-05-13", "2026-05-05"]
    told = capsys.readouterr().out
    assert "Russell 2000 as of 2026-05-05: 1,881 companies, 1 row left out" in told
    assert "1 joined: NEWA" in told
    assert "20 left:" in told


@pytest.mark.parametrize(
    ("reply", "code", "complaint"),
    [
        (Reply(200, b"<!DOCTYPE html><html>Please accept our terms</html>"), 65, "a web page, expected CSV"),
        (Reply(200, export(dt.date(2026, 5, 5), names(950))), 65, "950 companies, expected 1,700"),
        (Reply(200, export(dt.date(2026, 5, 5), names(1_900))[:70_000]), 65, "cut short|not CSV"),
        (Reply(200, export(dt.date(2026, 5, 5), names(1_900)), announced=900_000), 1, "was cut"),
        (Reply(503), 1, "out of order"),
        (Reply(404), 1, "status 404"),
    ],
)
def test_a_bad_answer_keeps_the_last_good_list_and_the_code_is_not_zero(
    kept, server, capsys, reply: Reply, code: int, complaint: str
) -> None:
    server.answer = lambda asked: reply
    before = (Path("data/universe/constituents/russell-2000/2025-05-13.csv")).read_bytes()
    assert refresh("--url", f"{server.url}/x") == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(complaint, said)
    assert said.endswith("the list of 2025-05-13 stays")
    assert lists() == ["2025-05-13"]
    assert (Path("data/universe/constituents/russell-2000/2025-05-13.csv")).read_bytes() == before


def test_programs_get_one_object(kept, capsys) -> None:
    capsys.readouterr()
    assert refresh("--file", "first.csv", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["index"], told["as_of"], told["new"], told["companies"]) == (
        "russell-2000", "2025-05-13", False, 1900
    )  # fmt: skip
    assert [row["symbol"] for row in told["left_out"]] == ["USD"]


def test_the_s_and_p_500_takes_a_date_because_its_list_has_none(home, capsys) -> None:
    rows = "\n".join(f"{name},x,Energy,2001-01-01" for name in names(503))
    (home / "sp.csv").write_text(f"Symbol,Security,GICS Sector,Date added\n{rows}\n")
    command = ["refresh-sp500", "--file", "sp.csv"]
    assert run([*command, "--as-of", "2026-08-06"]) == 0
    assert "S&P 500 as of 2026-08-06: 503 companies" in capsys.readouterr().out
    assert run(command) == 0
    assert "counts as of today" in capsys.readouterr().out
    assert run([*command, "--as-of", "soon"]) == 2


def test_dates_of_entry_that_are_none_are_told(home, capsys) -> None:
    first, second, *others = names(503)
    rows = "\n".join(f"{name},x,Energy,2001-01-01" for name in others)
    rows += f"\n{first},x,Energy,03/04/1957\n{second},x,Energy,\n"
    (home / "sp.csv").write_text(f"Symbol,Security,GICS Sector,Date first added\n{rows}")
    assert run(["refresh-sp500", "--file", "sp.csv"]) == 0
    assert f"members all along: {first}" in " ".join(capsys.readouterr().out.split())
    assert run(["refresh-sp500", "--file", "sp.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries_unread"] == [first]
    (known,) = ConstituentStore("data/universe").lists(SP500)
    assert {c.added for c in known.companies} == {"2001-01-01", "03/04/1957", ""}


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--file", "none.csv"], 65, "--file none.csv: cannot be read"),
        (["--file", "a", "--url", "b"], 2, "--url and --file are two sources"),
        (["--url", "http://example.com/x"], 78, "must begin with https://"),
        (["--url", "ftp://example.com/x"], 78, "must be https://"),
    ],
)
def test_mistakes_are_one_line(options: list[str], code: int, complaint: str, capsys) -> None:
    assert refresh(*options) == code
    assert complaint in capsys.readouterr().err


def test_the_command_line_offers_the_indices_there_are() -> None:
    from scripts.options import Index

    assert [index.value for index in Index] == list(INDICES)
