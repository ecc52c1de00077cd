"""The command from end to end on a small price file: files, output, interruption."""

import csv
import json
import signal
import tempfile
from pathlib import Path

import pytest

from scripts import backtest
from scripts.cli import run
from strategies import registry
from tests.scripts.price_file import SYMBOLS, weekdays, write_prices

N_DAYS = 160
SILENT = """
import strategies.registry
from strategies.base import RowStrategy

@strategies.registry.register
class Silent(RowStrategy):
    name = "silent"
    def on_row(self, row):
        return ()
    def tally(self):
        return {"too_quiet": 9, "signal": 0}
"""

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A working directory of its own; panels land below it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def data(home):
    return write_prices(home / "prices.csv", n_days=N_DAYS, spoil=[3])


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def replay(data, *options):
    return run(["backtest", "--data", str(data), "--strategies", "trend", *options])


def files(directory):
    return {
        p.relative_to(directory).as_posix(): p.read_bytes() for p in Path(directory).rglob("*") if p.is_file()
    }


def test_a_backtest_prints_its_figures_and_writes_its_files(data, capsys):
    assert replay(data, "--output-dir", "out") == 0
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines() if str(data) not in line) <= 80
    for expected in ("trend_following", "combined", "max DD", "signals", "high_too_low 1", "written to out"):
        assert expected in shown
    assert set(files("out")) >= {
        "trades/signals.csv", "trades/orders.csv", "trades/fills.csv", "trades/cashflows.csv",
        "trades/rejections.csv", "trades/trades.csv", "combined/equity_curve.csv", "combined/summary.csv",
        "performance/metrics.csv", "performance/conventions.csv", "performance/attribution.csv",
        "performance/attribution_sector.csv", "performance/attribution_symbol.csv",
        "data_quality.csv", "run.json",
    }  # fmt: skip
    assert len(table("out/combined/equity_curve.csv")) == N_DAYS
    assert len(table("out/trades/fills.csv")) > 0
    assert [row["reason"] for row in table("out/data_quality.csv")] == ["high_too_low"]


def test_two_runs_of_a_command_are_byte_identical_but_for_the_timings(data):
    for directory in ("one", "two"):
        assert replay(data, "--output-dir", directory) == 0
    one, two = files("one"), files("two")
    first, second = json.loads(one.pop("run.json")), json.loads(two.pop("run.json"))
    assert first.pop("timings").keys() == second.pop("timings").keys()
    assert first == second
    assert one == two


@pytest.mark.parametrize("mode", ["sleeve", "blend"])
def test_the_event_log_does_not_depend_on_the_slab(data, capsys, mode):
    hashes = set()
    for slab in ("1", "7", "100000"):
        options = ["--strategies", "livermore", "--mode", mode, "--slab", slab, "--json"]
        assert replay(data, *options) == 0
        hashes.add(json.loads(capsys.readouterr().out)["event_log_hash"])
    assert len(hashes) == 1


def test_every_signal_ends_as_an_order_or_a_rejection_and_money_adds_up(data):
    assert replay(data, "--output-dir", "out") == 0
    signals, orders = table("out/trades/signals.csv"), table("out/trades/orders.csv")
    made = {(o["date"], o["symbol"], o["side"]) for o in orders}
    refused = {(r["date"], r["symbol"], r["side"]) for r in table("out/trades/rejections.csv")}
    cancelled = {o["symbol"] for o in orders if o["status"] == "cancelled"}
    for row in signals:
        key = (row["date"], row["symbol"], row["side"])
        assert key in made | refused or row["symbol"] in cancelled
    cash = 100_000.0
    for fill in table("out/trades/fills.csv"):
        value = int(fill["quantity"]) * float(fill["price"])
        cash += (value if fill["side"] == "SELL" else -value) - float(fill["fee"])
    cash += sum(float(flow["amount"]) for flow in table("out/trades/cashflows.csv"))
    assert float(table("out/combined/equity_curve.csv")[-1]["cash"]) == pytest.approx(cash, abs=1e-3)


def test_json_is_one_object_on_stdout_and_nothing_else(data, capsys):
    assert replay(data, "--json", "--output-dir", "out") == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    outcome = json.loads(shown)
    assert set(outcome["metrics"]) == {"trend_following", "combined"}
    assert outcome["counts"]["bars"] == N_DAYS * len(SYMBOLS) - 1
    assert "out/run.json" in outcome["paths"]
    assert outcome["event_log_hash"] == json.loads(Path("out/run.json").read_text())["event_log_hash"]
    assert outcome["interrupted"] is False


def test_run_json_records_what_the_run_was_and_no_secret(data, monkeypatch):
    monkeypatch.setenv("TS_ALPHA_VANTAGE_KEY", "TOPSECRET")
    assert replay(data, "--param", "trend.fast_span=12", "--seed", "5", "--output-dir", "out") == 0
    text = Path("out/run.json").read_text()
    assert "TOPSECRET" not in text
    record = json.loads(text)
    assert record["strategies"][0]["parameters"]["fast_span"] == 12
    assert record["settings"]["data_sources"]["alpha_vantage_key"] == "***"
    assert record["data"]["quarantined"] == {"high_too_low": 1}
    assert (record["data"]["first"], record["data"]["last"]) == (weekdays(1)[0], weekdays(N_DAYS)[-1])
    assert record["seed"] == 5
    assert len(record["code"]) == len(record["data"]["fingerprint"]) == 64


def test_a_benchmark_is_measured_beside_the_strategies(data, capsys):
    assert replay(data, "--benchmark", f"{data}:BBBB", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["metrics"]["benchmark"]["total_return"] is not None
    assert outcome["data"]["benchmark"] == "BBBB"


def test_sleeves_split_the_capital_by_their_weights(data):
    assert replay(data, "--strategies", "zanger", "--capital", "55000", "--output-dir", "out") == 0
    first = table("out/combined/equity_curve.csv")[0]
    assert float(first["trend_following"]) == 25_000.0
    assert float(first["dan_zanger_cup_handle"]) == 30_000.0


def test_a_strategy_that_trades_nothing_says_why(data, capsys, home):
    (home / "silent.py").write_text(SILENT)
    assert (
        run(["backtest", "--data", str(data), "--strategies", "silent", "--strategy-module", "silent.py"])
        == 0
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert f"silent did not trade: {N_DAYS * len(SYMBOLS) - 1} bars scanned, no signal" in shown
    assert "too_quiet 100.0 %" in shown


def test_ctrl_c_keeps_what_was_done_and_says_so(data, capsys, monkeypatch):
    class Pressing(backtest.Progress):
        def __call__(self, rows_done, bars_done, ts):
            if rows_done == 80:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(backtest, "Progress", Pressing)
    before = signal.getsignal(signal.SIGINT)
    assert replay(data, "--slab", "40", "--output-dir", "out") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "interrupted after 80 of 160 rows; kept in out" in capsys.readouterr().err
    assert json.loads(Path("out/run.json").read_text())["interrupted"] is True
    assert len(table("out/combined/equity_curve.csv")) == 80


def test_a_second_ctrl_c_stops_at_once(data, capsys, monkeypatch):
    class Insisting(backtest.Progress):
        def __call__(self, rows_done, bars_done, ts):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(backtest, "Progress", Insisting)
    assert replay(data, "--slab", "40", "--output-dir", "out") == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert not Path("out/run.json").exists()


def test_ctrl_c_while_files_are_written_says_that_the_folder_is_not_whole(data, capsys, monkeypatch):
    assert replay(data, "--output-dir", "out") == 0

    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.tearsheet.write_tearsheet", press)
    assert replay(data, "--output-dir", "out") == 130
    assert "interrupted; out holds half a run and no run.json; run it again\n" in capsys.readouterr().err
    assert not Path("out/run.json").exists()


def test_a_disk_that_refuses_a_file_is_told_with_the_folder(data, capsys):
    Path("out").mkdir()
    Path("out/trades").write_text("in the way of a folder")
    assert replay(data, "--output-dir", "out") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == "error: Not a directory; out holds half a run and no run.json; run it again"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that takes no file from root")
def test_a_folder_that_takes_no_file_is_told_before_the_run(data, capsys):
    assert replay(data, "--output-dir", "/proc") == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["error: --output-dir /proc: No such file or directory"]


def test_the_embedded_market_needs_no_file(capsys):
    options = ["--strategies", "trend", "--start", "2024-01-01", "--seed", "11", "--json"]
    assert run(["backtest", *options]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert "synthetic market, seed 11" in outcome["data"]["source"]
    assert outcome["counts"]["trades"] > 0


@pytest.mark.parametrize(
    ("deed", "kind"),
    [("raise SystemExit(0)", "SystemExit"), ("raise asyncio.CancelledError", "CancelledError")],
)
def test_a_strategy_that_ends_the_process_is_an_error_that_is_told(
    data, home, monkeypatch, capsys, tmp_path, deed, kind
):
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (home / "mine.py").write_text("import asyncio\n" + SILENT.replace("return ()", deed))
    code = run(["backtest", "--data", str(data), "--strategy-module", "mine.py", "--strategies", "silent"])
    shown = capsys.readouterr()
    assert (code, shown.out) == (70, "")
    assert f"error: unexpected {kind}" in shown.err


def test_what_a_strategy_prints_is_no_result(data, home, monkeypatch, capsys):
    monkeypatch.setattr(registry, "_registered", {})
    (home / "mine.py").write_text(SILENT.replace("return ()", "print('here')"))
    words = ["--data", str(data), "--strategy-module", "mine.py", "--strategies", "silent", "--json"]
    assert run(["backtest", *words]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["counts"]["signals"] == 0
    assert "here" in shown.err


def test_a_printed_tear_sheet_of_an_earlier_run_does_not_stay_beside_another(data, home):
    (home / "out").mkdir()
    (home / "out" / "tearsheet.pdf").write_bytes(b"of another run")
    assert replay(data, "--output-dir", "out") == 0
    assert not (home / "out" / "tearsheet.pdf").exists()
