"""The kill switch of a monitor that runs as a process of its own, thrown in every way there is."""

import json
import os
import signal
import urllib.error
import urllib.request

import pytest

from scripts.cli import run
from storage import commands
from storage.commands import HALT
from storage.found import DATABASE
from tests.ports import free_port
from tests.scripts.price_file import write_prices
from tests.scripts.test_monitor import QUIET, Process, answer

ONE_ROW_AND_NO_MORE = ("--speed", "0.001")  # The monitor waits for the next row


def nobody():
    raise KeyError("getpwuid(): uid not found: 12345")


def test_a_user_without_a_name_can_throw_it(tmp_path, monkeypatch):
    """As in a container that runs under any number."""
    monkeypatch.setattr("getpass.getuser", nobody)
    (tmp_path / DATABASE).touch()
    assert run(["halt", "--store", str(tmp_path)]) == 0
    (path,) = commands.waiting(tmp_path)
    assert commands.load(path).by == f"uid {os.getuid()}"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def is_halted(home, capsys):
    """Whether the list of alerts says so."""
    capsys.readouterr()
    assert run(["alerts", "list", "--store", str(home / "store"), "--json"]) == 0
    alerts = json.loads(capsys.readouterr().out)["alerts"]
    return any(one["subject"] == "kill switch" and not one["clearing"] for one in alerts)


def post_halt(port, headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/halt", method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=600) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_is_thrown_by_http_signal_and_file_and_holds_through_sigkill(home, capsys):
    data, port = write_prices(home / "prices.csv", n_days=20), free_port()
    environment = {"TS_MONITOR__HTTP_ADDRESS": f"127.0.0.1:{port}"}
    resume = ["halt", "--resume", "--store", str(home / "store")]
    with Process(home, data, *ONE_ROW_AND_NO_MORE, **environment) as process:
        process.until(lambda: answer(port, "/readyz")[0] == 200)
        assert post_halt(port, {}) == 403
        assert post_halt(port, {"X-Smallcap-Halt": "yes", "Origin": "http://evil.test"}) == 403
        assert not is_halted(home, capsys)
        assert post_halt(port, {"X-Smallcap-Halt": "yes"}) == 200
        assert is_halted(home, capsys)  # By the time of the answer it is on the disk

        assert run(resume) == 0
        process.until(lambda: not is_halted(home, capsys))
        process.child.send_signal(signal.SIGUSR1)
        process.until(lambda: is_halted(home, capsys))

        assert run(resume) == 0
        process.until(lambda: not is_halted(home, capsys))
        (home / "store" / HALT).touch()
        process.until(lambda: is_halted(home, capsys))
        process.child.kill()
        process.child.wait()
    (home / "store" / HALT).unlink()
    with Process(home, data, *ONE_ROW_AND_NO_MORE, **environment) as process:
        process.until(lambda: answer(port, "/readyz")[0] == 200)
        assert is_halted(home, capsys)
        (home / "store" / HALT).touch()
        assert run(resume) == 0
        process.until(lambda: not is_halted(home, capsys))
        assert not (home / "store" / HALT).exists()
