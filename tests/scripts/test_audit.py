"""The command `audit`: exit codes, what it prints, and what it gives to programs."""

import json
from pathlib import Path

import pytest

from scripts.cli import run
from strategies import registry
from tests.scripts.price_file import write_prices

PLANTED = str(Path(__file__).parents[1] / "reports/guilty_strategies.py")

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})  # A file of strategies is loaded once per process
    return str(write_prices(tmp_path / "prices.csv", n_days=300))


def test_a_clean_strategy_ends_with_0_and_fits_80_columns(data, capsys):
    assert run(["audit", "--data", data, "--strategies", "trend", "--cuts", "40"]) == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines() if data not in line) <= 80
    assert "300 rows x 4 symbols, 40 cuts" in shown
    assert "trend_following" in shown
    assert "clean" in shown


def test_a_guilty_strategy_of_a_file_ends_with_1_and_is_told_where(data, capsys):
    options = ["--strategy-module", PLANTED, "--strategies", "clairvoyant", "mean20", "--cuts", "40"]
    assert run(["audit", "--data", data, *options]) == 1
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines() if data not in line) <= 80
    assert "input: close, 1 bar ahead" in " ".join(shown.split())
    assert "first at" in shown
    assert "nothing is proven" not in shown
    assert "2021-" in shown


def test_json_holds_the_first_offence_with_symbol_date_field_and_input(data, capsys):
    options = ["--strategy-module", PLANTED, "--strategies", "normalised,since_forever", "--cuts", "40"]
    assert run(["audit", "--data", data, "--json", *options]) == 1
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["rows"], outcome["symbols"]) == (300, 4)
    offence = outcome["strategies"]["since_forever"]["offence"]
    assert (offence["kind"], offence["inputs"]) == ("history", [])
    assert offence["symbol"] in ("AAAA", "BBBB", "CCCC", "DDDD")


def test_a_strategy_without_a_signal_is_not_called_clean(data, capsys):
    assert run(["audit", "--data", data, "--strategies", "livermore", "--cuts", "10"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing is proven: it gave no signal on these data" in shown


def test_two_audits_of_one_seed_say_the_same(data, capsys):
    verdicts = []
    for _ in range(2):
        run(["audit", "--data", data, "--strategies", "trend", "--cuts", "30", "--json", "--seed", "3"])
        outcome = json.loads(capsys.readouterr().out)
        outcome["seconds"] = outcome["strategies"]["trend_following"]["seconds"] = None
        verdicts.append(outcome)
    assert verdicts[0] == verdicts[1]
