"""A symbol's life is read from the files of a run, in time order, and nothing else is."""

from dataclasses import replace

import pytest

from engine.errors import DataError
from reports.why import Event, closest, read_life, read_record, told

FILES = {
    "signals": "date,symbol,strategy,side,confidence,price_ref,stop,details\n"
    '2024-03-07,AAA,trend,BUY,0.75,10.0,9.2,"{""fast"":1.5,""gap"":2.0}"\n'
    "2024-03-07,AA,trend,BUY,0.5,3.0,,\n2024-03-11,AAA,trend,SELL,1.0,11.0,,{}\n",
    "orders": "date,order_id,symbol,strategy,side,quantity,type,reason,status\n"
    "2024-03-07,0,AAA,trend,BUY,300,market,signal,filled\n",
    "fills": "date,order_id,symbol,strategy,side,quantity,price,fee,reason\n"
    "2024-03-08,0,AAA,trend,BUY,300,10.005,3.0015,signal\n",
    "rejections": "date,symbol,strategy,side,reason,detail\n"
    "2024-03-07,AA,trend,BUY,below_min_notional,value 412.5 < limit 500\n",
    "trades": "entry_date,exit_date,symbol,strategy,quantity,entry_price,exit_price,pnl,r_multiple,"
    "exit_reason,initial_stop\n2024-03-08,2024-03-11,AAA,trend,300,10.005,9.2,-250.0,-1.02,stop,9.2\n",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trades").mkdir()
    for name, content in FILES.items():
        (tmp_path / f"trades/{name}.csv").write_text(content)
    return tmp_path


def test_events_come_in_the_order_in_which_they_happened(folder):
    life = read_life(folder, "AAA", {})
    assert [(event.date, event.kind) for event in life.events] == [
        ("2024-03-07", "signal"), ("2024-03-07", "order"), ("2024-03-08", "fill"), ("2024-03-11", "trade"),
        ("2024-03-11", "signal"),
    ]  # fmt: skip
    assert life.missing == ["trades/cashflows.csv"]
    assert life.symbols == {"AA", "AAA"}


def test_a_symbol_that_is_part_of_another_is_not_taken_for_it(folder):
    assert [event.kind for event in read_life(folder, "AA", {}).events] == ["signal", "rejected"]


def test_signals_are_told_with_their_measurements_and_refusals_with_their_numbers(folder):
    signal = read_life(folder, "AAA", {}).events[0]
    assert told(signal) == ["signal BUY 10 confidence 0.75, stop 9.2", "fast 1.5, gap 2"]
    refused = read_life(folder, "AA", {}).events[1]
    assert told(refused) == ["refused BUY below_min_notional: value 412.5 < limit 500"]
    assert told(replace(refused, row={**refused.row, "detail": ""})) == ["refused BUY below_min_notional"]


def test_a_trade_is_told_with_its_stop_and_why_it_ended(folder):
    trade = next(event for event in read_life(folder, "AAA", {}).events if event.kind == "trade")
    assert "initial stop 9.2, ended by stop" in told(trade)[0]
    assert "-1.02 R" in told(trade)[0]


def test_misspelt_symbols_get_the_closest_ones():
    assert closest("AVVA", ["AVAV", "ZZZZ", "AEVA"])[0] == "AVAV"


def test_a_folder_without_a_run_is_an_error_that_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"expected run\.json"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json"):
        read_record(tmp_path)


def test_cash_is_told_with_its_shares_where_whole_ones_earned_it():
    row = {"kind": "dividend", "amount": "8.000028", "quantity": "5"}
    assert told(Event("2024-03-07", "cash flow", "trend", row)) == ["dividend 8.000028 on 5 shares"]
    row = {"kind": "cash_in_lieu", "amount": "22.25", "quantity": "0"}
    assert told(Event("2024-03-07", "cash flow", "trend", row)) == ["cash_in_lieu 22.25"]
