"""The command line: what it accepts, how it refuses, how fast it answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scripts.backtest
from engine.errors import MissingPackage
from scripts.cli import EXIT_CODES, run

NOWHERE = {
    f"TS_DATA_SOURCES__{name}": "http://127.0.0.1:9"
    for name in ("YAHOO_URL", "RUSSELL_2000_URL", "SP500_URL")
}  # so that no test asks a service
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def requests(monkeypatch):
    """What the command was asked to do; it does nothing."""
    made = []

    def accept(request, **options):
        made.append((request, options))
        return 0

    monkeypatch.setattr(scripts.backtest, "run_backtest", accept)
    return made


def refused(capsys, *arguments):
    code = run(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    return code, captured.err


def test_the_original_example_is_understood(requests):
    line = (
        "backtest --symbol AAPL --start 2020-01-01 --end 2024-01-01 --strategies trend livermore "
        "--output-dir reports/backtests/aapl_combo"
    )
    assert run(line.split()) == 0
    ((request, _),) = requests
    assert request.symbols == ("AAPL",)
    assert request.strategies == ("trend", "livermore")
    assert (request.start, request.end) == ("2020-01-01", "2024-01-01")
    assert request.output_dir == Path("reports/backtests/aapl_combo")


def test_every_option_reaches_the_command(requests):
    line = (
        "backtest --symbol A,B --symbol C --symbols s.txt --data d.parquet --sectors i.csv "
        "--strategies zanger,trend --mode blend --capital 250000 --benchmark b.parquet:IWM "
        "--param trend.fast_span=12 --param trend.slow_span=40 "
        "--fundamentals f.csv --strategy-module m.py --adjustment raw --slab 7 --strict --json --seed 3"
    )  # fmt: skip
    assert run(line.split()) == 0
    ((request, _),) = requests
    assert request.symbols == ("A", "B", "C")
    assert request.symbols_file == Path("s.txt")
    assert request.strategies == ("zanger", "trend")
    assert request.params == ("trend.fast_span=12", "trend.slow_span=40")
    assert request.strategy_modules == (Path("m.py"),)
    assert (request.mode, request.capital, request.adjustment) == ("blend", 250_000.0, "raw")
    assert (request.slab_rows, request.seed, request.strict, request.json) == (7, 3, True, True)
    assert request.benchmark == "b.parquet:IWM"
    assert request.fundamentals == Path("f.csv")


@pytest.mark.parametrize(
    "line",
    ["--settings s.json --force-config-reload backtest", "backtest --force-config-reload --settings s.json"],
)  # fmt: skip
def test_global_flags_work_before_and_after_the_command(requests, line):
    assert run(line.split()) == 0
    ((_, options),) = requests
    assert options == {"settings_path": Path("s.json"), "defaults_path": None, "force": True}


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("backtset", "Did you mean 'backtest'?"),
        ("backtest --strategis x", "did you mean --strategies?"),
        ("backtest --benchmrak x", "did you mean --benchmark?"),
        ("backtest --strategies livermroe", "did you mean livermore?"),
        ("backtest --param livermroe.min_bars=9", "--param livermroe.min_bars=9: unknown strategy"),
        ("backtest --output-dir=", "--output-dir has an empty value; is a variable not set?"),
        ("backtest --slab 0", "'--slab': Input should be greater than or equal to 1, was '0'"),
        ("backtest --capital much", "as a number, was 'much'"),
        ("backtest --mode both", "'--mode': 'both' is not one of 'sleeve', 'blend'"),
        ("monitor --interval 7m", "'--interval': '7m' is not one of '1m'"),
        ("backtest --capital -5", "--capital must be > 0"),
        ("backtest --param fast_span=3", "NAME.key=value"),
        ("backtest stray", "stray"),
        ("backtest --data d\udcff.csv", "error: d\\udcff.csv is not UTF-8; rename it"),
        ("--settings", "--settings"),
    ],
)
def test_wrong_usage_is_refused_with_a_hint_and_code_2(capsys, line, hint):
    code, shown = refused(capsys, *line.split())
    assert code == 2
    assert hint in shown


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"risk_management": {"max_positions": 0}}', 78),
        ('{"risk_managment": {}}', 78),
        ("{", 78),
        (None, 78),
    ],
)
def test_settings_that_cannot_be_used_are_one_line_and_code_78(capsys, tmp_path, content, code):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    given, shown = refused(capsys, "backtest", "--settings", str(path))
    assert given == code
    assert shown.count("\n") == 1


def test_a_parameter_that_does_not_exist_is_code_78(capsys):
    assert refused(capsys, "backtest", "--strategies", "trend", "--param", "trend.speed=3")[0] == 78


def test_data_that_are_not_there_are_code_65(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, shown = refused(capsys, "backtest", "--data", "nowhere.parquet")
    assert code == 65
    assert shown == "error: nowhere.parquet: no such file or folder\n"


def test_an_output_folder_that_cannot_be_made_is_refused_before_the_run(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, shown = refused(capsys, "backtest", "--output-dir", str(tmp_path / "file/out"))
    assert code == 1
    assert "--output-dir" in shown


@pytest.mark.parametrize(
    ("raised", "code"),
    [(MissingPackage("pip install it"), 69), (ZeroDivisionError("oops"), 70)],
)
def test_what_goes_wrong_inside_becomes_its_exit_code(capsys, monkeypatch, raised, code):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(scripts.backtest, "run_backtest", fail)
    assert refused(capsys, "backtest")[0] == code


def test_a_command_of_the_original_that_is_none_here_says_what_stands_in_for_it(capsys):
    code, message = refused(capsys, "update-strategy-metrics", "--input", "metrics.json")
    assert code == 2
    assert (
        "no command update-strategy-metrics: strategies weigh what the settings strategy_weights say"
        in message
    )


def test_an_interruption_before_anything_was_done_is_code_130_and_says_so(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts.backtest, "run_backtest", interrupt)
    assert run(["backtest"]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was kept\n"


@pytest.mark.parametrize("arguments", ["backtest --help", "doctor", "doctor --json"])
def test_a_pipe_that_nobody_reads_ends_the_command_without_a_word(tmp_path, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, ROOT / "main.py", *arguments.split()], cwd=tmp_path, stdout=writing,
        stderr=subprocess.PIPE, text=True, check=False, env=os.environ | NOWHERE,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_a_command_the_help_is_shown_as_wrong_usage(capsys):
    assert run([]) == 2
    assert "backtest" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["backtest", "--help"], ["backtest", "-h"]])
def test_help_documents_the_exit_codes(capsys, arguments):
    assert run(arguments) == 0
    assert " ".join(EXIT_CODES.split()) in " ".join(capsys.readouterr().out.split())


def test_help_of_what_belongs_to_the_monitor_fits_a_terminal_and_is_cut_nowhere(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in ("", "monitor", "health", "alerts", "alerts silence", "alerts check", "subscribe", "halt"):
        assert run([*words.split(), "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80
        told = [line for line in lines if not line.startswith("Usage")]
        assert not [line for line in told if line.endswith("...") or "list[" in line], words


def test_help_imports_nothing_heavy():
    program = (
        "import sys, json; from scripts.cli import run; run(['backtest', '--help']);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stderr))
    assert not loaded & {
        "numpy",
        "numba",
        "pandas",
        "pyarrow",
        "rich",
        "msgspec",
        "asyncio",
        "scripts.backtest",
    }
