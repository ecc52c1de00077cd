"""The `notebook` command: which run it finds, what it copies, and that the copy runs."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.cli import run
from scripts.notebook import DESTINATION, TEMPLATE, wired
from tests.scripts.price_file import write_prices

NEEDED = ("nbclient", "ipykernel", "plotly")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished(path, *, at=0):
    """Make what the command takes for a finished run, `at` so many seconds."""
    path.mkdir(parents=True)
    (path / "run.json").write_text("{}")
    os.utime(path / "run.json", (1_700_000_000 + at, 1_700_000_000 + at))
    return path


def parameters(path=DESTINATION):
    """Return what the parameters of a notebook are set to."""
    cells = json.loads(Path(path).read_text())["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    values = {}
    exec("".join(cell["source"]), values)
    return values


def test_the_copy_reads_the_run_that_was_finished_last(home, capsys):
    finished(home / "out/old", at=1)
    newest = finished(home / "reports/backtests/group/new", at=3)
    finished(home / "out/middle", at=2)
    (home / "out/unfinished").mkdir()
    assert run(["notebook"]) == 0
    assert parameters()["RUN"] == str(newest)
    assert "notebooks/trading_dashboard.ipynb: reads reports/backtests/group/new" in capsys.readouterr().out


def test_a_run_and_a_place_can_be_named(home):
    finished(home / "out/new", at=1)
    named = finished(home / 'it\'s\n"quoted" größe')
    assert run(["notebook", "--run", str(named), "--dest", "deep/mine.ipynb"]) == 0
    assert parameters("deep/mine.ipynb")["RUN"] == str(named)
    assert not DESTINATION.exists()


def test_a_copy_is_replaced_only_with_force(home, capsys):
    finished(home / "out/one")
    DESTINATION.parent.mkdir()
    DESTINATION.write_text("my work")
    assert run(["notebook"]) == 1
    assert "exists; --force replaces it" in capsys.readouterr().err
    assert DESTINATION.read_text() == "my work"
    assert run(["notebook", "--force"]) == 0
    assert parameters()["RUN"] == str(home / "out/one")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 65, "no run in out/ or reports/backtests/"),
        (["--run", "nowhere"], 65, "nowhere: no such folder"),
        (["--run", "."], 65, "holds no run.json"),
        (["--dest", "."], 1, "is a folder"),
        (["--force", "--dest", str(TEMPLATE)], 1, "is the template itself"),
    ],
)
def test_what_cannot_be_is_one_line(home, capsys, options, code, said):
    before = TEMPLATE.read_bytes()
    assert run(["notebook", *options]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert TEMPLATE.read_bytes() == before
    assert not DESTINATION.exists()


def test_the_template_is_clean_small_and_of_no_machine():
    text = TEMPLATE.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len(text) < 20_000
    assert parameters(TEMPLATE)["RUN"] == "out/demo"
    changed = json.loads(wired(text, Path("elsewhere")))["cells"]
    assert sum(one != other for one, other in zip(cells, changed, strict=True)) == 1


def execute(path, done, home):
    """Run a notebook as it would be opened: in a process and a folder of its own."""
    # The kernel is told where its files go, and that its messages stay on this machine
    environment = {**os.environ, "HOME": str(home), "IPYTHONDIR": str(home / ".ipython")}
    environment["JUPYTER_RUNTIME_DIR"] = str(home / "runtime")
    return subprocess.run(
        [sys.executable, "-c", EXECUTE, str(path), str(done)],
        cwd=path.parent, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


needs_notebook = pytest.mark.skipif(
    bool(MISSING), reason=f'not installed: {", ".join(MISSING)} (pip install -e ".[notebook]")'
)


@pytest.fixture
def backtested(home):
    data = write_prices(home / "prices.csv")
    assert run(["backtest", "--data", str(data), "--strategies", "trend", "--output-dir", "out/one"]) == 0
    return home / "out/one"


@needs_notebook
def test_the_copy_runs_and_draws_every_section(home, backtested):
    assert run(["notebook"]) == 0
    done = execute(DESTINATION.resolve(), home / "done.ipynb", home)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads((home / "done.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    drawn = [
        output["data"]["application/vnd.plotly.v1+json"]
        for output in outputs
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    assert len(drawn) == 6  # equity, three attributions, sector exposure, a trade
    assert [trace["name"] for trace in drawn[0]["data"]] == ["combined", "trend following", "drawdown"]
    assert not any(figure["config"]["showSendToCloud"] for figure in drawn)
    assert {trace["type"] for trace in drawn[-1]["data"]} == {"candlestick", "scatter"}
    said = "".join("".join(output.get("text", ())) for output in outputs)
    assert "trades, the largest profit first" in said


@needs_notebook
def test_the_copy_runs_on_a_run_without_trades_and_with_a_narrow_window(home, backtested):
    assert run(["notebook"]) == 0
    text = DESTINATION.read_text()
    text = text.replace("START, END = None, None", 'START, END = \\"2021-02-01\\", \\"2021-02-26\\"')
    DESTINATION.write_text(text.replace("SYMBOL = None", 'SYMBOL = \\"NONE\\"'))
    assert parameters()["SYMBOL"] == "NONE"
    done = execute(DESTINATION.resolve(), home / "done.ipynb", home)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nothing to draw" in (home / "done.ipynb").read_text()


@needs_notebook
def test_a_window_of_days_holds_the_trades_of_a_run_within_days(home, backtested):
    twice = r"\1T15:31:00Z\2\n\1T18:31:00Z\2"
    (home / "minutes.csv").write_text(
        re.sub(r"(.*\d{4}-\d\d-\d\d)(.*)", twice, (home / "prices.csv").read_text())
    )
    options = ["--data", "minutes.csv", "--strategies", "trend", "--output-dir", "out/two"]
    assert run(["backtest", *options]) == 0
    with (home / "out/two/trades/trades.csv").open() as file:
        entered = sorted(row["entry_date"][:10] for row in csv.DictReader(file))
    assert run(["notebook"]) == 0
    window = f'START, END = \\"{entered[1]}\\", \\"{entered[-2]}\\"'
    DESTINATION.write_text(DESTINATION.read_text().replace("START, END = None, None", window))
    done = execute(DESTINATION.resolve(), home / "done.ipynb", home)
    assert done.returncode == 0, done.stderr[-2000:]
    within = [day for day in entered if entered[1] <= day <= entered[-2]]
    assert f"{len(within)} trades, the largest profit first" in (home / "done.ipynb").read_text()


@needs_notebook
def test_without_plotly_the_copy_says_how_to_get_it(home, backtested):
    assert run(["notebook"]) == 0
    (DESTINATION.parent / "plotly.py").write_text("raise ImportError('not here')\n")
    done = execute(DESTINATION.resolve(), home / "done.ipynb", home)
    assert done.returncode != 0
    assert 'Plotly is missing: pip install -e ".[notebook]"' in done.stderr
