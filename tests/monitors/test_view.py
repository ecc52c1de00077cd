"""The columns of what is held say what its lots say."""

import math

import numpy as np

from monitors.book import compiled_weigh
from monitors.view import MICRO, NO_POSITIONS, Positions, Profits
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
    profits = Profits(("A", "X", "B"), np.array([True, False, True]), np.array([5, 0, -7]))
    assert dict(profits) == {"A": 5, "B": -7}
    assert dict(profits.items()) == {"A": 5, "B": -7}
    assert profits["B"] == -7
    assert profits.get("C", 0) == 0
    assert all(type(amount) is int for amount in profits.values())


def test_what_positions_come_to_is_the_sum_of_their_lots_compiled_or_not():
    lots = [
        position("A", 5.0, sector="energy", stop_usd=0.04),
        position("B", 7.0, missed_sessions=1),
        position("A", 2.5, strategy="trend", stop_usd=0.025),  # At its stop
        position("C", -3.0, quantity=-100.0, mark_usd=0.03, stop_usd=0.02),  # Above that of a short one
    ]
    plain = Positions.of(lots)
    compiled = Positions(
        plain.numbers, plain.symbol.table, plain.strategy.table, plain.sector.table, compiled_weigh
    )
    for held in (plain, compiled):
        weighed = held.weighed
        assert held.symbol.table == ("A", "B", "C")
        assert (weighed.by_symbol / MICRO).tolist() == [7.5, 7.0, 3.0]
        assert held.sector.table == ("energy", "biotech")
        assert (weighed.by_sector / MICRO).tolist() == [5.0, 12.5]
        assert weighed.value == sum(held.values_micro) == 11.5 * MICRO
        assert weighed[3:] == (7.5 * MICRO, 2, 1)


def test_a_value_that_is_not_known_is_the_largest():
    unknown = Positions.of([position("A"), position("B", mark_usd=math.nan), position("C", 9e6)])
    assert math.isnan(unknown.weighed.largest)
    assert math.isnan(unknown.weighed.value)
    assert NO_POSITIONS.weighed.largest == 0.0
