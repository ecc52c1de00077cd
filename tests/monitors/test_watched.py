"""A positions file: what is read, what is refused, and how actions change it."""

import math

import numpy as np
import pytest

from engine.errors import DataError
from engine.slab import ACTION_DTYPE, ActionKind, Bars, Tape, Universe
from monitors.watched import Held, WatchedDesk, read_positions


def written(tmp_path, text):
    path = tmp_path / "positions.csv"
    path.write_text(text)
    return path


def test_lines_are_read_with_the_usual_names_of_columns(tmp_path):
    path = written(tmp_path, 'Ticker,Quantity,Cost,Sector\nbbb,10,2.5,energy\nAAA,"1,000",,\nCASH,500,,\n')
    found = read_positions(path)
    assert [one.symbol for one in found] == ["AAA", "BBB", "CASH"]
    assert found[1] == Held("BBB", 10.0, 25.0, "energy")
    assert math.isnan(found[0].cost_usd)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("symbol,shares\nAAA,ten\n", ":2: AAA: shares must be a number, was 'ten'"),
        ("symbol,shares\nAAA,nan\n", "shares must be a number"),
        ("symbol,shares\nAAA,\n", "shares must be a number"),
        ("symbol,shares\nAAA,1\nAAA,2\n", ":3: AAA is there twice"),
        ("name,shares\nAAA,1\n", ":2: has no symbol"),
        ("symbol,shares\n", "holds no positions"),
        ("", "holds no positions"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_line(tmp_path, text, named):
    with pytest.raises(DataError) as caught:
        read_positions(written(tmp_path, text))
    assert named in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_positions(tmp_path / "nowhere.csv")


def test_a_symbol_without_prices_is_refused():
    with pytest.raises(DataError, match="no prices of ZZZ"):
        WatchedDesk(Universe(("AAA",)), [Held("ZZZ", 1.0, 1.0, "")])


def session(desk, close, *actions, status=2):
    price = np.full((1, 1), close)
    rows = np.array(list(actions), ACTION_DTYPE)
    bars = Bars(np.array([1]), price, price, price, price, price)
    tape = Tape(
        bars.ts, bars.open, bars.high, bars.low, bars.close, bars.volume,
        np.full((1, 1), status, np.uint8), rows, bars.benchmark,
    )  # fmt: skip
    return desk.process(tape, np.zeros(1, np.int64), []).equity[0, 0].tolist()


def test_splits_and_dividends_leave_the_portfolio_worth_what_it_is():
    desk = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    assert session(desk, 20.0) == [0, 200_000_000, 200_000_000]
    assert session(desk, 10.0, (0, 0, ActionKind.SPLIT, 2.0)) == [0, 200_000_000, 200_000_000]
    assert session(desk, 9.0, (0, 0, ActionKind.DIVIDEND, 1.0)) == [20_000_000, 180_000_000, 200_000_000]
    assert desk.profits_micro() == {"AAA": 100_000_000}


def test_without_a_bar_the_last_mark_stands():
    desk = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    session(desk, 20.0)
    assert session(desk, np.nan, status=0)[2] == 200_000_000
    other = WatchedDesk(Universe(("AAA",)), [Held("AAA", 10.0, 100.0, "")])
    other.restore(desk.state())
    assert other.money_micro() == desk.money_micro()
