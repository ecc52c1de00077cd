"""The files of a run: their columns, their order, their exact text."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from engine import events
from engine.events import Reason
from reports.artefacts import write_run
from reports.performance import METRICS, summarise
from tests.reports.made_run import DAYS, REJECTIONS, SIGNALS, Named, recorder, replay, rows

HEADERS = {
    "trades/signals.csv": "date,symbol,strategy,side,confidence,price_ref,stop,details",
    "trades/orders.csv": "date,order_id,symbol,strategy,side,quantity,type,reason,status",
    "trades/fills.csv": "date,order_id,symbol,strategy,side,quantity,price,fee,reason",
    "trades/cashflows.csv": "date,symbol,strategy,kind,quantity,per_share,amount",
    "trades/rejections.csv": "date,symbol,strategy,side,reason,detail",
    "trades/trades.csv": "entry_date,exit_date,symbol,strategy,quantity,entry_price,exit_price,pnl,return,"
    "r_multiple,bars_held,mae,mfe,exit_reason,fees,income,initial_stop",
    "trades/risk_events.csv": "date,account,kind,value,limit",
    "combined/equity_curve.csv": "date,equity,cash,exposure,first,second",
    "combined/summary.csv": ",".join(("strategy", *METRICS)),
    "performance/metrics.csv": ",".join(("strategy", *METRICS)),
    "performance/conventions.csv": "metric,title,unit,convention,remarks",
    "performance/attribution.csv": "strategy,return,weight,contribution,linked,profit",
    "data_quality.csv": "file,row,symbol,date,reason,detail",
}


def write(directory, made, quarantined=None):
    summary = summarise(made.equity(), made.accounts, made.capital_usd, made.benchmark_close())
    return write_run(Path(directory), made, summary, quarantined or {})


def lines(directory, name):
    return (Path(directory) / name).read_text().splitlines()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    write(directory, replay(recorder(), 2))
    return directory


@pytest.mark.parametrize("name", HEADERS)
def test_each_file_has_its_columns(written, name):
    assert lines(written, name)[0] == HEADERS[name]


def test_all_files_are_named_and_no_others_are_written(tmp_path):
    paths = write(tmp_path, replay(recorder(), 2))
    there = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {p.relative_to(tmp_path).as_posix() for p in paths} == set(HEADERS)


def test_metrics_begin_with_the_figures_that_everybody_asks_for(written):
    first = "strategy,final_equity,total_return,cagr,max_drawdown,sharpe,volatility"
    assert lines(written, "performance/metrics.csv")[0].startswith(first)


def test_conventions_explain_every_column_and_every_empty_cell(written):
    table = {row["metric"]: row for row in csv.DictReader(lines(written, "performance/conventions.csv"))}
    assert tuple(table) == METRICS
    assert all(row["convention"] for row in table.values())
    assert "second: needs 30 calendar days, has 5" in table["cagr"]["remarks"]


def test_signals_carry_their_stop_and_their_measurements(written):
    table = list(csv.DictReader(lines(written, "trades/signals.csv")))
    assert [row["symbol"] for row in table] == ["AAA", "CCC", "BBB", "AAA"]
    assert [row["stop"] for row in table] == ["9.2", "2.75", "", ""]
    assert [row["side"] for row in table] == ["BUY", "BUY", "BUY", "SELL"]
    assert json.loads(table[0]["details"]) == {"score": 1.5, "width": 0.1}
    assert json.loads(table[1]["details"]) == {"width": 0.2}  # NaN is left out
    assert json.loads(table[2]["details"]) == {}
    assert float(table[2]["price_ref"]) == 1 / 3


def test_an_order_is_one_row_with_its_last_status(written):
    assert lines(written, "trades/orders.csv")[1:] == [
        "2024-03-07,0,AAA,first,BUY,300,market,signal,filled",
        "2024-03-07,1,BBB,second,BUY,9,market,no_trade,cancelled",
    ]


def test_an_order_cut_to_what_cash_bought_says_so(tmp_path):
    made = recorder()
    made.on_batch(events.Orders(rows(events.Orders, dict(
        seq=0, ts=DAYS[0], order_id=7, symbol=0, side=1, quantity=300, filled=290, status=2, reason=40,
        end_reason=Reason.CASH_AT_FILL, ts_decided=DAYS[0],
    ))))  # fmt: skip
    write(tmp_path, replay(made, 2))
    assert "2024-03-07,7,AAA,first,BUY,300,market,cash_at_fill,filled" in lines(tmp_path, "trades/orders.csv")


def test_fills_cash_flows_and_trades_are_exact(written):
    assert lines(written, "trades/fills.csv")[1:] == ["2024-03-08,0,AAA,first,BUY,300,10.005,3.0015,signal"]
    assert lines(written, "trades/cashflows.csv")[1:] == ["2024-03-11,AAA,first,dividend,300,0.07,21.00"]
    assert lines(written, "trades/trades.csv")[1:] == [
        "2024-03-08,2024-03-12,AAA,first,300,10.005,11.0,316.499999,0.105,1.3,2,-0.02,0.11,trailing_stop,"
        "6.3015,21.00,9.2"
    ]


def test_rejections_say_what_was_too_little_or_too_much(written, tmp_path):
    assert [line.split(",")[-1] for line in lines(written, "trades/rejections.csv")[1:]] == [
        "value 412.5 < limit 500", "",
    ]  # fmt: skip
    made = recorder()
    more = rows(
        events.Rejections,
        {"ts": DAYS[0], "side": 1, "reason": Reason.CAP_NAME, "value": 12.25, "limit": 10.0},
        {"ts": DAYS[0], "side": 1, "reason": Reason.MAX_POSITIONS, "value": 20.0, "limit": 20.0},
        {"ts": DAYS[0], "side": 1, "reason": Reason.INVALID_STOP, "limit": 3.0},
    )
    made.on_batch(events.Rejections(np.concatenate((REJECTIONS[:1], more))))
    write(tmp_path, made)
    assert [line.split(",")[-1] for line in lines(tmp_path, "trades/rejections.csv")[2:]] == [
        "value 12.25 > limit 10", "value 20 = limit 20", "limit 3",
    ]  # fmt: skip


def test_the_equity_curve_is_the_sum_of_the_accounts(written):
    table = list(csv.DictReader(lines(written, "combined/equity_curve.csv")))
    assert [row["equity"] for row in table] == ["100000.00", "99990.00", "100200.00", "100316.00"]
    for row in table:
        assert float(row["first"]) + float(row["second"]) == float(row["equity"])
        gross = float(row["equity"]) - float(row["cash"])
        assert float(row["exposure"]) == gross / float(row["equity"])


def test_metrics_name_each_account_and_the_whole_and_leave_the_undefined_empty(written):
    table = {row["strategy"]: row for row in csv.DictReader(lines(written, "performance/metrics.csv"))}
    assert list(table) == ["first", "second", "combined"]
    assert table["combined"]["final_equity"] == "100316.0"
    assert table["second"]["sharpe"] == ""
    assert table["first"]["cagr"] == ""
    summary = [row["strategy"] for row in csv.DictReader(lines(written, "combined/summary.csv"))]
    assert summary == ["combined", "benchmark"]


def test_contributions_add_up_to_the_total_return(written):
    table = list(csv.DictReader(lines(written, "performance/attribution.csv")))
    assert sum(float(row["weight"]) for row in table) == pytest.approx(1.0)
    assert sum(float(row["contribution"]) for row in table) == pytest.approx(0.00316)


@pytest.mark.parametrize("n_rows", [1, 3, 4])
def test_the_bytes_do_not_depend_on_the_slabs(tmp_path, written, n_rows):
    for path in write(tmp_path, replay(recorder(), n_rows)):
        assert path.read_bytes() == (written / path.relative_to(tmp_path)).read_bytes()


def test_risk_events_of_an_earlier_run_do_not_stay(tmp_path):
    write(tmp_path, replay(recorder(), 4))
    assert (tmp_path / "trades/risk_events.csv").exists()
    write(tmp_path, recorder())
    assert not (tmp_path / "trades/risk_events.csv").exists()


def test_a_run_without_events_has_all_files_with_headers_only(tmp_path):
    write(tmp_path, recorder())
    assert lines(tmp_path, "trades/signals.csv") == [HEADERS["trades/signals.csv"]]
    assert lines(tmp_path, "combined/equity_curve.csv") == [HEADERS["combined/equity_curve.csv"]]


def test_measurement_names_of_third_parties_cannot_break_the_file(tmp_path):
    made = recorder((Named('=cmd"', ('a"b', "c,d")), Named("second")))
    made.on_batch(events.Signals(SIGNALS[:1]))
    write(tmp_path, made)
    (row,) = csv.DictReader(lines(tmp_path, "trades/signals.csv"))
    assert json.loads(row["details"]) == {'a"b': 1.5, "c,d": 0.1}
    assert row["strategy"] == "'=cmd\""


def test_quarantined_rows_are_listed_with_place_and_reason(tmp_path):
    table = {
        "file": ["p.csv"], "row": [17], "symbol": ["PRTA"], "date": ["2012-12-20"],
        "reason": ["high_too_low"], "detail": ["high 1 < open 2, twice"],
    }  # fmt: skip
    write(tmp_path, recorder(), table)
    assert lines(tmp_path, "data_quality.csv")[1:] == [
        'p.csv,17,PRTA,2012-12-20,high_too_low,"high 1 < open 2, twice"'
    ]
