"""Equity curves as various tools export them."""

from __future__ import annotations

import pytest

from engine.errors import DataError
from monitors.equity_file import read_equity


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
        (
            "date,equity\n2024-01-02,1,5\n",
            r"file\.csv:2: has 3 cells, the header 2; a comma in a number",
        ),
        ("date;equity\n2024-01-02;1,5\n", r"file\.csv:2: equity must be a number, was '1,5'"),
        ("date,equity,Equity\n2024-01-02,1,2\n", "2 columns named equity"),
        ('date,equity\n"2024-01-02\n', "unexpected end"),
        ("date,equity\n2024-01-02,nan\n", r"file\.csv:2: equity must be a number, was 'nan'"),
        ("date,equity\n2024-01-02,\n", r"file\.csv:2: equity must be a number"),
        ("date,equity\n2024-01-02,1e999\n", "must be a number"),
        ("date,equity\n2024-01-02,95%\n", r"file\.csv:2: equity must be a number, was '95%'"),
        ("date,equity\n2024-02-30,1\n", "not a date: '2024-02-30'"),
        ("date,equity\n2024-01-02,1\n2024-01-02,2\n", "2024-01-02 is there twice"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_a_curve_that_cannot_be_read_names_the_place(file, text, said):
    with pytest.raises(DataError, match=said):
        read_equity(file(text))
