"""`health`: what it prints, mails and exits with."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.cli import run
from tests.monitors.smtp_server import smtp_server

ROOT = Path(__file__).parents[2]
CURVE = """date,equity
2024-03-08,112000
2024-03-15,101000
2024-03-22,94500
2024-04-22,113000
2024-05-10,115200
2024-06-21,{last}
"""
POSITIONS = """symbol,shares,cost,price,sector,industry
KRYS,54,140,188.2,Healthcare,Biotechnology
CRNX,{crnx},38,54.9,Healthcare,Biotechnology
"""


@pytest.fixture
def health(tmp_path, monkeypatch):
    """Run the command over a portfolio; return its exit code."""
    monkeypatch.chdir(tmp_path)

    def judge(*options, last=115_200, crnx=100, settings=None):
        (tmp_path / "equity.csv").write_text(CURVE.format(last=last))
        (tmp_path / "positions.csv").write_text(POSITIONS.format(crnx=crnx))
        text = settings if isinstance(settings, str) else json.dumps(settings or {})
        (tmp_path / "settings.json").write_text(text)
        words = ["--equity", "equity.csv", "--positions", "positions.csv", *options]
        return run(["--settings", str(tmp_path / "settings.json"), "health", *words])

    return judge


def test_a_healthy_portfolio_exits_with_0_and_tells_old_drawdowns(health, capsys):
    assert health() == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Max drawdown: -15.6%\n")
    assert "- Drawdown 0.16 from 2024-03-08 to 2024-04-22 (trough 2024-03-22)" in shown
    assert "Sector breaches:\n- none" in shown


def test_a_drawdown_that_is_open_exits_with_1(health, capsys):
    assert health(last=101_500) == 1
    shown = capsys.readouterr().out
    assert "- Drawdown 0.12 from 2024-05-10 to 2024-06-21 (trough 2024-06-21, still open)" in shown


def test_a_sector_over_its_limit_exits_with_1_and_is_told_on_both_bases(health, capsys):
    assert health(crnx=700) == 1
    shown = capsys.readouterr().out
    assert "- biotech: 0.42 (limit 0.35), 1.00 of the invested" in shown
    assert "Single-name concentration CRNX: 33.4%, limit 15.0%" in shown


def test_json_is_one_object_with_the_same_verdict(health, capsys):
    assert health("--json", last=101_500, crnx=700) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["healthy"], told["exit_code"], told["as_of"]) == (False, 1, "2024-06-21")
    assert told["sectors"]["biotech"]["limit"] == 0.35
    assert {one["rule"] for one in told["alerts"]} == {"drawdown", "sector", "single_name"}
    assert told["drawdown"] == pytest.approx(101_500 / 115_200 - 1)


@pytest.mark.parametrize(
    ("options", "settings", "said"),
    [
        (("--equity", "nope.csv"), {}, "nope.csv: No such file"),
        (("--equity", "positions.csv"), {}, "no column for date and equity"),
        ((), {"monitoring": {"drawdown_clear": 2}}, "drawdown_clear"),
        (("--email",), {}, "email.smtp_server"),
        (("--equity", "empty.csv"), {}, "empty.csv: is empty"),
        (("--positions", "empty.csv"), {}, "empty.csv: is empty"),
        (("--positions", "header.csv"), {}, "header.csv: holds no positions"),
        (("--positions", "equity.csv"), {}, "no column for symbol and sector"),
        (("--positions", "."), {}, "Is a directory"),
        (("--equity", "gap.csv"), {}, "gap.csv:3: equity must be a number, was 'nan'"),
        (("--equity", "future.csv"), {}, "2999-01-02 is yet to come"),
        ((), "{", "settings.json: invalid JSON"),
    ],
)
def test_what_cannot_be_judged_exits_with_2_and_one_line(health, tmp_path, capsys, options, settings, said):
    for name, text in {
        "empty": "",
        "header": "symbol,shares,price,sector\n",
        "gap": "date,equity\n2024-01-02,1\n2024-01-03,nan\n",
        "future": "date,equity\n2999-01-02,1\n",
    }.items():
        (tmp_path / f"{name}.csv").write_text(text)
    assert health(*options, settings=settings) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error"), ZeroDivisionError()])
def test_no_failure_whatever_is_taken_for_a_breach(health, monkeypatch, capsys, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("scripts.health.read_equity", fail)
    assert health() == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("price", ["", "nan", "0", "-1", "N/A"])
def test_a_price_that_is_not_known_is_a_breach_and_not_a_zero(health, tmp_path, capsys, price):
    (tmp_path / "p.csv").write_text(
        f"symbol,shares,cost,price,sector\nKRYS,54,140,{price},energy\nCRNX,10,30,40,technology\n"
    )
    assert health("--positions", "p.csv") == 1
    shown = capsys.readouterr().out
    assert "Single-name concentration KRYS: unknown" in shown
    assert "- energy: unknown (limit 0.30), unknown of the invested" in shown
    assert "CRNX" not in shown
    assert "nan" not in shown
    assert health("--positions", "p.csv", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["sectors"]["energy"]["share_of_equity"] is None


def test_a_sector_that_is_not_known_has_the_limit_of_the_others(health, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("symbol,shares,price,sector\nA,100,90,Widgets\nB,330,90,\n")
    assert health("--positions", "p.csv") == 1
    shown = capsys.readouterr()
    assert "- other: 0.26 (limit 0.25)" in shown.out
    assert "widgets" not in shown.out
    assert "1 of 2 positions have no sector and count as other" in shown.err


@pytest.mark.parametrize("equity", ["0", "-5"])
def test_an_equity_of_nothing_is_a_breach_of_everything(health, capsys, equity):
    assert health(last=equity) == 1
    shown = capsys.readouterr().out
    assert "biotech: unknown" in shown
    assert "Drawdown 1.00" in shown


def test_one_value_is_judged_and_remarked_and_so_is_an_old_one(health, tmp_path, capsys):
    (tmp_path / "one.csv").write_text("date,equity\n2024-01-02,112000\n")
    assert health("--equity", "one.csv") == 0
    told = capsys.readouterr().err
    assert "one value: no drawdown can be seen" in told
    assert "days old" in told


class Mailbox:
    """A mail server in a thread of its own: the command runs its own event loop."""

    def __enter__(self):
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        assert self._ready.wait(600)
        return self

    async def _serve(self):
        self._done = asyncio.Event()
        async with smtp_server() as self.server:
            self._ready.set()
            await self._done.wait()

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(600)
        self._loop.close()


@pytest.mark.parametrize("last", [101_500, 115_200])
def test_a_breach_is_mailed_and_health_is_not(health, capsys, last):
    with Mailbox() as mailbox:
        email = {
            "smtp_server": "127.0.0.1", "smtp_port": mailbox.server.port, "security": "none",
            "sender": "desk@fund.test", "recipients": ["pm@fund.test"],
        }  # fmt: skip
        code = health("--email", last=last, settings={"email": email})
        mails = mailbox.server.accepted
    assert (code, len(mails)) == ((1, 1) if last < 110_000 else (0, 0))
    if mails:
        assert "Drawdown: 11.9%, limit 10.0%" in mails[0].mail["Subject"]
        assert "mailed to 1 recipient" in capsys.readouterr().err
        text = mails[0].mail.get_body(("plain",)).get_content()
        assert "LATE" not in text  # The files are old: what is in them was found only now
        assert "bar of 2024-" in text


def test_a_mail_that_fails_changes_nothing_about_the_verdict(health, capsys):
    email = {
        "smtp_server": "127.0.0.1", "smtp_port": 1, "security": "none", "sender": "desk@fund.test",
        "recipients": ["pm@fund.test"],
    }  # fmt: skip
    assert health("--email", last=101_500, settings={"email": email}) == 1
    shown = capsys.readouterr()
    assert "Max drawdown" in shown.out
    assert "sending the e-mail failed" in shown.err


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(("last", "code"), [(115_200, 0), (101_500, 1)])
def test_whoever_closes_the_pipe_early_changes_nothing_about_the_verdict(
    health, tmp_path, options, last, code
):
    health(last=last)
    read, write = os.pipe()
    os.close(read)
    assert judged(tmp_path, options, write).returncode == code


def test_a_verdict_is_given_to_whoever_has_closed_the_output(health, tmp_path):
    health()
    closed = ["sh", "-c", 'exec "$@" >&-', "sh"]
    assert judged(tmp_path, [], None, before=closed).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_verdict_that_cannot_be_written_is_none(health, tmp_path):
    health()
    with open("/dev/full", "w") as full:
        done = judged(tmp_path, [], full)
    assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")


def judged(folder, options, stdout, before=()):
    """Run the command in a process of its own over the files in a folder."""
    words = [
        "--settings", "settings.json", "health", "--equity", "equity.csv", "--positions", "positions.csv",
    ]  # fmt: skip
    return subprocess.run(
        [*before, sys.executable, ROOT / "main.py", *words, *options], cwd=folder, stdout=stdout,
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
