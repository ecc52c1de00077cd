"""Every backtest counts itself: what makes a run another trial, and what does not."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from reports.judgement import judge
from scripts.cli import run
from scripts.trials import sentence
from storage.trials import DailyReturns, Trials
from strategies import registry
from tests.scripts.price_file import write_prices

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A working directory of its own; the database lands below it."""
    monkeypatch.chdir(tmp_path)
    write_prices(tmp_path / "prices.csv")
    return tmp_path


@pytest.fixture
def counted(capsys):
    def replay(*options, strategy="trend"):
        code = run(["backtest", "--data", "prices.csv", "--strategies", strategy, "--json", *options])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return json.loads(shown.out)["significance"]["trials"]

    return replay


def test_the_same_run_is_one_trial_wherever_its_results_go_and_however_it_is_cut(counted):
    assert counted() == 1
    assert counted("--output-dir", "out", "--slab", "7") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--param", "trend.fast_span=9"), ("--capital", "50000"), ("--mode", "blend"),
        ("--start", "2021-02-01"), ("--symbol", "AAAA"),
    ],
)  # fmt: skip
def test_whatever_changes_a_result_is_another_trial(counted, options):
    counted()
    assert counted(*options) == 2
    assert counted(*options) == 2
    assert counted() == 2


def test_other_sectors_and_another_benchmark_are_other_trials(counted, home):
    (home / "one.csv").write_text("symbol,sector\nAAAA,Energy\nBBBB,Energy\n")
    (home / "other.csv").write_text("symbol,sector\nAAAA,Energy\nBBBB,Technology\n")
    write_prices(home / "index.csv", symbols=("IDX", "IDY"))
    assert counted() == 1
    assert counted("--sectors", "one.csv") == 2
    assert counted("--sectors", "other.csv") == 3
    assert counted("--benchmark", "index.csv:IDX") == 4
    assert counted("--benchmark", "index.csv:IDY") == 5
    assert counted("--benchmark", "index.csv:IDX", "--sectors", "one.csv") == 6
    assert counted("--benchmark", "index.csv:IDX") == 6


def test_facts_that_the_settings_name_count_as_those_of_the_option(counted, home):
    header = "symbol,period_end,available_at,item,value\n"
    (home / "facts.csv").write_text(header + "AAAA,2020-12-31,2021-02-01,eps_growth_q,0.4\n")
    assert counted(strategy="canslim") == 1
    settings = home / "settings.json"
    settings.write_text('{"fundamentals": {"csv_path": "facts.csv"}}')
    assert counted("--settings", str(settings), strategy="canslim") == 2
    assert counted("--fundamentals", "facts.csv", strategy="canslim") == 2


def test_another_window_of_the_synthetic_market_is_another_trial_on_it(capsys):
    days = ("--start", "2015-01-01", "--end", "2015-06-30"), ("--start", "2015-02-02", "--end", "2015-06-30")
    for n, window in enumerate(days, 1):
        assert run(["backtest", "--strategies", "trend", "--json", *window]) == 0
        assert json.loads(capsys.readouterr().out)["significance"]["trials"] == n


def test_an_edited_strategy_file_is_another_trial(counted, home, monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    source = (
        "import strategies.registry\nfrom strategies.base import RowStrategy\n\n"
        "@strategies.registry.register\nclass Mine(RowStrategy):\n    name = 'mine'\n"
        "    def on_row(self, row):\n        return ()\n"
    )
    module = home / "mine_module.py"
    module.write_text(source)
    assert counted("--strategy-module", str(module), strategy="mine") == 1
    registry._registered.clear()
    module.write_text(source + "# another idea\n")
    assert counted("--strategy-module", str(module), strategy="mine") == 2


def test_a_folder_of_fundamentals_that_changed_is_another_trial(counted, home):
    cache = (
        '{"source": "alpha_vantage", "fetched_at": "2021-01-05T12:00:00", "data": {"return_on_equity": %s}}'
    )
    (home / "facts").mkdir()
    (home / "facts" / "AAAA.json").write_text(cache % 0.1)
    options = ("--fundamentals", "facts")
    assert counted(*options, strategy="canslim") == 1
    (home / "facts" / ".lock").touch()
    assert counted(*options, strategy="canslim") == 1
    (home / "facts" / "AAAA.json").write_text(cache % 0.2)
    assert counted(*options, strategy="canslim") == 2


def test_an_update_of_the_reader_forgets_no_trial(counted, monkeypatch):
    assert counted() == 1
    monkeypatch.setattr("feeds.source._READER_VERSION", 1000)
    assert counted() == 1
    assert counted("--capital", "50000") == 2


def test_other_data_begin_another_count(counted, home):
    counted()
    write_prices(home / "prices.csv", n_days=150)
    assert counted() == 1


def test_a_registry_that_cannot_be_written_is_one_line_and_no_failure(home, capsys):
    Path("data").mkdir()
    (home / "data/smallcap.db").write_text("not a database, but long enough to be taken for a header" * 9)
    assert run(["backtest", "--data", "prices.csv", "--strategies", "trend"]) == 0
    shown = capsys.readouterr()
    said = [line for line in shown.err.splitlines() if "trial" in line]
    assert said == ["this run is not counted as a trial: database data/smallcap.db: file is not a database"]
    assert "trials on these data: not counted; probability that the Sharpe ratio is > 0:" in shown.out
    assert "luck" not in shown.out


def test_what_depends_on_trials_that_were_not_counted_is_undefined_with_its_reason(home, capsys):
    options = ["backtest", "--data", "prices.csv", "--strategies", "trend", "--output-dir", "out"]
    Path("data").mkdir()
    Path("data/smallcap.db").mkdir()
    assert run(options) == 0
    with Path("out/performance/significance.csv").open() as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    why = "the trials on these data could not be counted: database data/smallcap.db: unable to open"
    for name in ("trials", "mean_correlation", "effective_trials", "sharpe_daily_by_luck", "dsr", "pbo"):
        assert rows[name]["value"] == ""
        assert rows[name]["reason"].startswith(why)
    assert rows["psr"]["value"] != ""
    assert json.loads(Path("out/run.json").read_text())["significance"]["trials"] is None
    page = Path("out/tearsheet.html").read_text()
    assert f"is not known: {why}" in page
    assert "Without their number, whether it is more than luck cannot be told (DSR)." in page


def test_the_verdict_names_its_trials():
    days = np.arange(500, dtype=np.int32)
    returns = np.random.Generator(np.random.PCG64(3)).normal(0.001, 0.01, 500)
    made = judge(DailyReturns(days, returns), Trials(12, (0.02, 0.1)))
    assert sentence(made).startswith(
        "trials on these data: 12; probability that the Sharpe ratio is > 0: >99.9%"
    )
    assert "best trial: 90.9%" in sentence(made)
    assert made.as_dict()["days"] == 500
    flat = judge(DailyReturns(days, returns * 0), Trials(1, ()))
    assert sentence(flat) == "trials on these data: 1; no Sharpe ratio"
    assert "no track record is long enough" in sentence(judge(DailyReturns(days, -returns), Trials(1, ())))


def test_the_second_configuration_brings_the_probability_of_overfitting(capsys, home):
    base = ["backtest", "--data", "prices.csv", "--strategies", "trend", "--output-dir", "out"]
    assert run(base) == 0
    assert "PBO" not in capsys.readouterr().out
    figures = json.loads(Path("out/run.json").read_text())["significance"]
    assert figures["pbo"] is None
    assert figures["undefined"]["pbo"] == "the only configuration tried on these data so far"
    assert run([*base, "--param", "trend.fast_span=7"]) == 0
    assert "best of 2 trials is overfitted (PBO)" in " ".join(capsys.readouterr().out.split())
    figures = json.loads(Path("out/run.json").read_text())["significance"]
    assert 0 <= figures["pbo"] <= 1
    assert figures["pbo_configurations"] == 2
    assert f"pbo,{figures['pbo']!r}," in Path("out/performance/significance.csv").read_text()
