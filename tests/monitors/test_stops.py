"""Stops that did not sell, the portfolio stop, and books that do not agree."""

from __future__ import annotations

import math

import pytest

from monitors.monitoring import Monitors
from monitors.view import Account
from tests.monitors.views import labels, position, settings, view


def told(**changes):
    return Monitors(settings()).evaluate(view(0, 100, **changes))


@pytest.mark.parametrize(
    ("stop", "fires"), [(0.1, True), (0.11, True), (0.09, False), (None, False), (math.nan, True)]
)
def test_a_close_at_or_below_a_stop_is_told_while_the_lot_is_held(stop, fires):
    held = (position("ACME", 10, strategy="trend", stop_usd=stop),)
    expected = [("stop_unfilled", "ACME/trend", "fired", True)] if fires else []
    assert labels(told(positions=held)) == expected


def test_it_ends_when_the_lot_is_sold_or_closes_above():
    for after in ((), (position("ACME", 12, stop_usd=0.11),)):
        monitors = Monitors(settings())
        monitors.evaluate(view(0, 100, positions=(position("ACME", 10, stop_usd=0.11),)))
        (one,) = monitors.evaluate(view(1, 100, positions=after))
        assert (one.subject, one.label) == ("ACME", "resolved")


@pytest.mark.parametrize(("stop", "fires"), [(0.1, True), (0.08, True), (0.11, False)])
def test_the_stop_of_a_short_position_is_above_its_price(stop, fires):
    held = (position("ACME", -10, quantity=-100.0, mark_usd=0.1, stop_usd=stop),)
    said = Monitors(settings()).evaluate(view(0, 100, positions=held))
    assert labels(said) == ([("stop_unfilled", "ACME", "fired", True)] if fires else [])
    assert [one.value for one in said] == ([pytest.approx((0.1 - stop) / stop)] if fires else [])


def test_the_portfolio_stop_is_open_until_the_account_is_armed_again():
    monitors = Monitors(settings())

    def account(state, equity):
        return (Account("trend", state, equity * 1_000_000, 100_000_000),)

    steps = [("active", 81), ("active", 80), ("halted", 79), ("cooldown", 85), ("active", 85)]
    said = [
        (state, one.label)
        for day, (state, equity) in enumerate(steps)
        for one in monitors.evaluate(view(day, 100, accounts=account(state, equity)))
        if not one.label.startswith("repeat")
    ]
    assert said == [("active", "fired"), ("active", "resolved")]


@pytest.mark.parametrize(("off_usd", "fires"), [(0.0, False), (0.01, False), (0.0101, True)])
def test_books_more_than_a_basis_point_apart_are_told(off_usd, fires):
    one = view(0, 100)
    said = Monitors(settings()).evaluate(one._replace(cash_micro=one.cash_micro - round(off_usd * 1e6)))
    assert labels(said) == ([("reconciliation", "ledger", "fired", True)] if fires else [])


def test_equity_that_is_unknown_does_not_reconcile():
    said = Monitors(settings()).evaluate(view(0, None))
    assert ("reconciliation", "ledger", "fired", True) in labels(said)
