"""Positions as the original tool, brokers and others export them."""

from __future__ import annotations

from math import isnan

import pytest

from engine.errors import DataError
from monitors.positions_file import Held, read_held, read_valued


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("symbol,shares,cost,sector,market_value\nACME,10,4,Energy,55\n", 55.0),
        ("Ticker,Quantity,Last Price,Sector\nacme,10,5.5,Energy\n", 55.0),
        ("symbol,weight,sector\nACME,5.5%,Energy\n", 55.0),
        ("symbol,weight,sector\nACME,0.055,Energy\n", 55.0),
        ("symbol,shares,cost,sector\nACME,10,5.5,Energy\n", 55.0),
        ("symbol;shares;price;sector\nACME;10;5.5;Energy\n", 55.0),
        ('symbol,shares,price,sector\nACME,"1,000",$0.055,Energy\n', 55.0),
    ],
)
def test_a_position_is_worth_what_the_file_tells(file, text, value):
    (one,) = read_valued(file(text), 1_000.0).positions
    assert (one.symbol, one.sector) == ("ACME", "energy")
    assert one.shares * one.price_usd == pytest.approx(value)


def test_without_prices_positions_are_valued_at_cost_and_that_is_remarked_and_so_is_a_missing_sector(file):
    text = "symbol,shares,cost,sector,industry\nA,1,5,Healthcare,Biotechnology\nB,2,5,,\nCASH,100,,,\n"
    stored = read_valued(file(text), 100.0)
    assert [(one.sector, one.price_usd, one.cost_usd) for one in stored.positions] == [
        ("biotech", 5.0, 5.0), ("other", 5.0, 10.0),
    ]  # fmt: skip
    assert stored.remarks == (
        "2 of 2 positions have no price and are valued at cost",
        "1 of 2 positions have no sector and count as other",
    )
    assert isnan(read_valued(file("symbol,sector,value\nA,x,1\n"), 1.0).positions[0].cost_usd)


@pytest.mark.parametrize("price", ["", "nan", "N/A", "-", "0", "-3"])
def test_a_price_that_is_not_known_is_unknown_and_neither_the_cost_nor_nothing(file, price):
    text = f"symbol,shares,cost,price,sector\nA,10,5,{price},x\nB,10,5,6,x\n"
    a, b = read_valued(file(text), 100.0).positions
    assert isnan(a.price_usd)
    assert b.price_usd == 6.0


def test_a_market_value_of_nothing_for_something_is_unknown(file):
    one, other = read_valued(file("symbol,shares,market_value,sector\nA,10,0,x\nB,0,0,x\n"), 1.0).positions
    assert isnan(one.price_usd)
    assert other.price_usd == 0.0


def test_the_monitor_reads_the_same_files_and_wants_shares_alone(file):
    lines = ["bbb,10,2.5,Healthcare,Biotechnology", 'AAA,"1,000",,,', "USD,500,,,"]
    a, b, cash = read_held(file("\n".join(["Ticker,Quantity,Avg. Cost,Sector,Industry", *lines])))
    assert (a.symbol, a.shares, a.sector) == ("AAA", 1000.0, "")
    assert isnan(a.cost_usd)
    assert b == Held("BBB", 10.0, 25.0, "biotech")
    assert (cash.symbol, cash.shares) == ("CASH", 500.0)


def test_a_cost_of_all_shares_is_not_taken_for_one_per_share(file):
    (one,) = read_held(file("symbol,shares,cost_basis_total\nA,10,55\n"))
    assert one.cost_usd == 55.0


SCHWAB = """\
"Positions for account Individual ...123 as of 04:05 PM ET, 2024/06/21"

"Symbol","Description","Qty (Quantity)","Price","Mkt Val (Market Value)","Cost Basis",
"AAA","A INC","100","160.50","$16,050.00","$12,000.00",
"Cash & Cash Investments","--","--","--","$19,450.00","--",
"Account Total","--","--","--","$35,500.00","$12,000.00",
"""
FIDELITY = """\
Account Number,Symbol,Description,Quantity,Last Price,Current Value,Cost Basis Total,Average Cost Basis,Type
X1,SPAXX**,HELD IN MONEY MARKET,,,$19550.00,,,Cash,
X1,AAA,A INC,100,$160.50,$16050.00,$12000.00,$120.00,Cash,
X1,Pending Activity,,,,-$100.00,,,,

"The data and information in this spreadsheet is provided to you solely for your use."

"Date downloaded Jun-21-2024 4:05 p.m ET"
"""
IBKR = """\
"CurrencyPrimary","AssetClass","Symbol","Quantity","MarkPrice","PositionValue","CostBasisPrice","CostBasisMoney"
"USD","STK","AAA","100","160.5","16050","120","12000"
"USD","CASH","USD","19450","1","19450","1","19450"
"""
ETRADE = """\
Symbol,Last Price $,Quantity,Price Paid $,Value $
AAA,160.50,100,120.00,"16,050.00"
CASH,,,,"19,450.00"
TOTAL,,,,"35,500.00"
"""


@pytest.mark.parametrize("text", [SCHWAB, FIDELITY, IBKR, ETRADE])
def test_what_brokers_export_is_read_as_it_is(file, text):
    aaa, cash = read_held(file(text))
    assert aaa == ("AAA", 100.0, 12_000.0, "")
    assert cash[:2] == ("CASH", 19_450.0)


@pytest.mark.parametrize("names", ["cost basis", "cost basis,cost per share"])
def test_a_cost_basis_is_of_all_shares_as_brokers_have_it(file, names):
    path = file(f"symbol,shares,sector,{names}\nA,10,x,50{',5' * names.count(',')}\n")
    assert read_held(path)[0].cost_usd == 50.0
    assert read_valued(path, 100.0).positions[0].price_usd == 5.0


def test_cash_by_a_brokers_name_is_no_position(file):
    text = 'symbol,sector,value\nA,x,60\nCash & Cash Investments,,"1,000"\nSPAXX**,,5\n'
    assert [one.symbol for one in read_valued(file(text), 100.0).positions] == ["A"]


@pytest.mark.parametrize("total", ["Total", "TOTALS", "Account Total", "Grand total:", "Subtotal"])
def test_a_line_of_totals_is_no_position(file, total):
    path = file(f"symbol,shares,price,sector\nA,10,5,x\n{total},10,,\n")
    assert [one.symbol for one in read_held(path)] == ["A"]
    assert [one.symbol for one in read_valued(path, 100.0).positions] == ["A"]


def test_totals_alone_are_no_positions(file):
    with pytest.raises(DataError, match="holds no positions"):
        read_held(file("symbol,shares\nTotal,0\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,shares\nAAA,ten\n", r"file\.csv:2: AAA: shares must be a number, was 'ten'"),
        ("symbol,Qty\n\nAAA,\n", r"file\.csv:3: AAA: Qty must be a number, was ''"),
        ("symbol,shares\nAAA,nan\n", "shares must be a number"),
        ("symbol,shares,cost\nAAA,1,x\n", r"file\.csv:2: AAA: cost must be a number, was 'x'"),
        ("symbol,shares\nAAA,1\nAAA,2\n", r"file\.csv:3: AAA is there twice"),
        ("symbol,shares\nCASH,1\nCASH,2\n", r"file\.csv:3: CASH is there twice"),
        ("symbol,shares,currency\nA,1,USD\nB,2,EUR\n", r"file\.csv:3: B: currency must be USD, was 'EUR'"),
        ("symbol,shares\n,2\n", r"file\.csv:2: has no symbol"),
        ("name,shares\nAAA,1\n", "no column for symbol .*its columns are name, shares"),
        ("symbol,price\nAAA,1\n", "no column for shares"),
        ("symbol,shares\n", "holds no positions"),
        ("", "is empty"),
    ],
)
def test_what_the_monitor_cannot_read_names_the_place(file, text, said):
    with pytest.raises(DataError, match=said):
        read_held(file(text))


def test_a_missing_file_is_named(tmp_path):
    for read in (read_held, lambda path: read_valued(path, 1.0)):
        with pytest.raises(DataError, match=r"nowhere\.csv: No such file"):
            read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,shares,price\nA,1,2\n", "no column for sector"),
        ("symbol,sector\nA,x\n", "no column tells what a position is worth"),
        ("symbol,sector,shares,price\nA,x,1,free\n", r"file\.csv:2: A: price must be a number, was 'free'"),
        ("symbol,sector,value\n", "holds no positions"),
        ("symbol,sector,value\nA,x,inf\n", "must be a number"),
        ("symbol,sector,value\nA,x,1\na,x,2\n", "A is there twice"),
        ("symbol,sector,value\n,x,1\n", "has no symbol"),
        ("symbol,sector,weight\nA,x,42\n", "fraction of equity or end in %"),
        ("symbol,sector,weight\nA,x,%\n", r"file\.csv:2: A: weight must be a number, was '%'"),
        ("symbol,sector,shares,price\nA,x,1,5%\n", r"file\.csv:2: A: price must be a number, was '5%'"),
    ],
)
def test_positions_that_cannot_be_read_name_the_place(file, text, said):
    with pytest.raises(DataError, match=said):
        read_valued(file(text), 100.0)
