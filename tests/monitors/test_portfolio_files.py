"""Equity curves and positions as various tools export them."""

from __future__ import annotations

from math import isnan

import pytest

from engine.errors import DataError
from monitors.portfolio_files import read_equity, read_positions


@pytest.fixture
def file(tmp_path):
    def write(text, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "date,equity\n2024-01-02,100\n2024-01-03,90.5\n",
        "\ufeffDate,Equity Curve\n2024-01-03,90.5\n2024-01-02,100\n",
        ",equity\n2024-01-02 00:00:00,100.0\n2024-01-03 00:00:00,90.5\n",
        "Date;Portfolio Value\n01/02/2024;$100.00\n01/03/2024;90.5\n",
        "timestamp\tNAV\r\n2024-01-02T16:00:00-05:00\t100\r\n\r\n2024-01-03T16:00:00-05:00\t90.5\r\n",
        "date,equity,cash,exposure,trend_following\n2024-01-02,100,1,0.9,50\n2024-01-03,90.5,1,0.9,40\n",
    ],
)
def test_a_curve_is_read_in_common_forms(file, text):
    assert [(row.session, row.equity_usd) for row in read_equity(file(text))] == [
        ("2024-01-02", 100.0), ("2024-01-03", 90.5),
    ]  # fmt: skip


def test_flows_are_read_where_there_are_some(file):
    rows = read_equity(
        file("date,equity,net_flow\n2024-01-02,100,\n2024-01-03,150,50\n2024-01-04,120,(30)\n")
    )
    assert [row.flow_usd for row in rows] == [0.0, 50.0, -30.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("date,price\n2024-01-02,1\n", r"no column for equity .*its columns are date, price"),
        ("when,what\n", r"no column for date and equity"),
        ("date,equity\n", "holds no equity"),
        ("", "is empty"),
        ("date,equity\n2024-01-02,nan\n", r"file\.csv:2: equity must be a number, was 'nan'"),
        ("date,equity\n2024-01-02,\n", r"file\.csv:2: equity must be a number"),
        ("date,equity\n2024-01-02,1e999\n", "must be a number"),
        ("date,equity\n2024-02-30,1\n", "not a date: '2024-02-30'"),
        ("date,equity\n2024-01-02,1\n2024-01-02,2\n", "2024-01-02 is there twice"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_a_curve_that_cannot_be_read_names_the_place(file, text, said):
    with pytest.raises(DataError, match=said):
        read_equity(file(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("symbol,shares,cost,sector,market_value\nACME,10,4,Energy,55\n", 55.0),
        ("Ticker,Quantity,Last Price,Sector\nacme,10,5.5,Energy\n", 55.0),
        ("symbol,weight,sector\nACME,5.5%,Energy\n", 55.0),
        ("symbol,weight,sector\nACME,0.055,Energy\n", 55.0),
        ("symbol,shares,cost,sector\nACME,10,5.5,Energy\n", 55.0),
    ],
)
def test_a_position_is_worth_what_the_file_tells(file, text, value):
    (one,) = read_positions(file(text), 1_000.0).positions
    assert (one.symbol, one.sector) == ("ACME", "energy")
    assert one.shares * one.price_usd == pytest.approx(value)


def test_a_position_at_cost_is_remarked_and_so_is_one_without_a_sector(file):
    text = (
        "symbol,shares,cost,price,sector,industry\nA,1,5,,Healthcare,Biotechnology\nB,1,5,6,,\nCASH,100,,,,\n"
    )
    stored = read_positions(file(text), 100.0)
    assert [one.sector for one in stored.positions] == ["biotech", "other"]
    assert stored.remarks == (
        "1 of 2 positions have no price and are valued at cost",
        "1 of 2 positions have no sector and count as other",
    )
    assert isnan(read_positions(file("symbol,sector,value\nA,x,1\n"), 1.0).positions[0].cost_usd)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("symbol,shares,price\nA,1,2\n", "no column for sector"),
        ("symbol,sector\nA,x\n", "no column tells what a position is worth"),
        ("symbol,sector,value\nA,x,\n", r"file\.csv:2: A: nothing tells what it is worth"),
        ("symbol,sector,value\nA,x,inf\n", "must be a number"),
        ("symbol,sector,value\nA,x,1\na,x,2\n", "A is there twice"),
        ("symbol,sector,value\n,x,1\n", "has no symbol"),
        ("symbol,sector,weight\nA,x,42\n", "fraction of equity or end in %"),
    ],
)
def test_positions_that_cannot_be_read_name_the_place(file, text, said):
    with pytest.raises(DataError, match=said):
        read_positions(file(text), 100.0)
