"""The columns of what is held say what its lots say."""

import math

import numpy as np

from monitors.view import NO_POSITIONS, Position, Positions, Profits
from tests.monitors.views import position


def test_lots_come_back_from_their_columns():
    lots = [
        position("A", stop_usd=1.5),
        position("B", strategy="trend", missed_sessions=2),
        position("A", 5.0),
    ]
    columns = Positions.of(lots)
    assert list(columns) == lots
    assert len(columns) == 3
    assert all(type(one.quantity) is float and type(one.missed_sessions) is int for one in columns)
    assert list(NO_POSITIONS) == []


def test_a_stop_that_is_no_number_is_still_a_stop():
    held = Positions.of([position(stop_usd=math.nan), position(stop_usd=None)])
    with_stop, without = held
    assert math.isnan(with_stop.stop_usd)
    assert without.stop_usd is None
    assert held.has_stop.tolist() == [True, False]


def test_a_value_is_whole_micro_dollars_and_unknown_where_no_ledger_could_hold_it():
    lots = [
        position(quantity=quantity, mark_usd=mark)
        for quantity, mark in [(3.0, 0.3333333), (1e12, 1e7), (1.0, math.nan), (-0.0, 1.0), (0.5, 1e-6 * 5)]
    ]
    values = Positions.of(lots).values_micro
    assert values[0] == 1_000_000.0
    assert math.isnan(values[1])
    assert math.isnan(values[2])
    assert math.copysign(1.0, values[3]) == 1.0
    assert values[4] == 2.0  # Half to even


def test_profits_read_like_a_dictionary():
    profits = Profits(("A", "X", "B"), np.array([0, 2]), np.array([5, -7]))
    assert dict(profits) == {"A": 5, "B": -7}
    assert dict(profits.items()) == {"A": 5, "B": -7}
    assert profits["B"] == -7
    assert profits.get("C", 0) == 0
    assert all(type(amount) is int for amount in profits.values())


def test_the_fields_of_the_columns_are_those_of_a_position():
    columns = set(Positions.__dataclass_fields__)
    assert columns == {*Position._fields, "has_stop"}
