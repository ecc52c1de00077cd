"""Errors are one line, with the exit code their kind stands for."""

import re
from pathlib import Path

import pytest

from config import SettingsError
from engine.errors import ConfigError, DataError, EngineError, MissingPackage
from scripts.assembly import UsageError
from scripts.console import one_line, report_error, report_usage


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (DataError("x"), 65), (MissingPackage("x"), 69), (EngineError("x"), 70),
        (ConfigError("x"), 78), (SettingsError("x"), 78), (OSError("x"), 1), (MemoryError("x"), 1),
    ],
)  # fmt: skip
def test_an_expected_error_is_one_line_and_its_exit_code(capsys, error, code):
    assert report_error(error) == code
    captured = capsys.readouterr()
    assert captured.err == "error: x\n"
    assert captured.out == ""


def test_an_unexpected_error_is_one_line_that_names_the_saved_traceback(capsys):
    assert report_error(raised(KeyError("nobody\nthought of this"))) == 70
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    saved = Path(re.search(r"traceback: (\S+);", shown)[1])
    assert "test_console.py" in saved.read_text()
    saved.unlink()


def test_verbose_shows_the_traceback(capsys):
    assert report_error(raised(DataError("bad file")), verbose=True) == 65
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: bad file\n")


def test_names_from_files_cannot_break_the_line_or_the_terminal():
    assert one_line("a\nb\x1b[2J\udcff") == "a b\\x1b[2J\\udcff"


def test_a_usage_error_says_where_to_read_on(capsys):
    report_usage("no such thing", help_command="smallcap backtest")
    assert capsys.readouterr().err == "error: no such thing\nsee:   smallcap backtest --help\n"
