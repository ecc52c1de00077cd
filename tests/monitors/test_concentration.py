"""Sectors and single names against their limits."""

from __future__ import annotations

import math

import pytest

from config.settings import Settings
from monitors.monitoring import Monitors
from tests.monitors.views import labels, position, settings, view


def told(positions, equity=100.0, **changes):
    return Monitors(settings(**changes)).evaluate(view(0, equity, positions=tuple(positions)))


@pytest.mark.parametrize(("value", "fires"), [(35.0, False), (35.1, True)])
def test_a_sector_breaches_above_its_limit_and_not_at_it(value, fires):
    said = told(
        [position("A", value - 10), position("B", 10)], sector_limits={"biotech": 0.35, "other": 0.25}
    )
    assert labels(said) == ([("sector", "biotech", "fired", True)] if fires else [])


@pytest.mark.parametrize(("value", "over"), [(33.1, False), (33.0, True)])
def test_a_sector_is_over_two_points_below_its_limit(value, over):
    monitors = Monitors(settings(sector_limits={"biotech": 0.35, "other": 0.25}))
    monitors.evaluate(view(0, 100, positions=(position(value_usd=36),)))
    said = monitors.evaluate(view(1, 100, positions=(position(value_usd=value),)))
    assert any(one.resolved for one in said) == over


def test_the_share_of_what_is_invested_is_told_beside_that_of_equity():
    held = [position("A", 40), position("B", 10, sector="energy")]
    (one,) = told(held, sector_limits={"biotech": 0.35, "other": 0.25})
    assert (one.value, one.detail) == (pytest.approx(0.4), "80.0% of what is invested")
    assert [(c.symbol, c.amount_usd) for c in one.positions] == [("A", 40.0)]


def test_a_sector_without_a_limit_has_that_of_other_each_by_itself():
    held = [position("A", 20, sector="utilities"), position("B", 20, sector="real estate")]
    assert told(held, sector_limits={"other": 0.25}) == []
    assert labels(told(held, sector_limits={"other": 0.15}))[0][1] == "real estate"


def test_a_limit_that_is_null_is_off_for_its_sector():
    assert told([position("A", 90)], sector_limits={"biotech": None, "other": 0.25}) == []


def test_a_name_warns_above_ten_percent_and_is_critical_above_fifteen():
    monitors = Monitors(Settings())
    steps = []
    for day, value in enumerate([10.0, 10.1, 15.1, 9.5, 9.0]):
        held = tuple(position(f"S{i}", 1.0, sector=f"sector {i}") for i in range(3))
        said = monitors.evaluate(view(day, 100, positions=(position("ACME", value), *held)))
        steps += [(day, one.label, one.severity) for one in said if one.rule == "single_name"]
    assert [step for step in steps if not step[1].startswith("repeat")] == [
        (1, "fired", "warning"), (2, "worse-2", "critical"), (4, "resolved", "critical"),
    ]  # fmt: skip


def test_a_short_position_counts_by_its_size_and_makes_no_room_for_a_long_one():
    held = [position("A", -30), position("B", 20)]
    (one,) = told(held, sector_limits={"biotech": 0.35, "other": 0.25})
    assert (one.value, one.detail) == (pytest.approx(0.5), "100.0% of what is invested")
    assert [(c.symbol, c.amount_usd) for c in one.positions] == [("A", -30.0), ("B", 20.0)]
    said = told(held, single_name_critical=0.25)
    assert [(one.rule, one.subject, one.value) for one in said] == [("single_name", "A", pytest.approx(0.3))]


def test_a_name_counts_whoever_holds_it():
    held = [position("ACME", 6, strategy="trend"), position("ACME", 6, strategy="zanger")]
    said = told(held, single_name_warn=0.10)
    assert labels(said) == [("single_name", "ACME", "fired", True)]


@pytest.mark.parametrize("equity", [0.0, -5.0, None])
def test_without_equity_every_share_is_a_breach(equity):
    said = told([position()], equity=equity, sector_limits={"other": 0.25}, single_name_warn=0.10)
    by_rule = {one.rule: one for one in said}
    assert by_rule["sector"].severity == by_rule["single_name"].severity == "critical"
    assert math.isnan(by_rule["sector"].value)


def test_a_position_without_a_mark_is_a_breach_of_its_name_and_sector_and_hides_no_other():
    held = [position("LOST", mark_usd=math.nan), position("A", 40, sector="energy")]
    said = told(held, sector_limits={"other": 0.25}, single_name_warn=0.10)
    assert {(one.rule, one.subject) for one in said} >= {
        ("sector", "biotech"), ("sector", "energy"), ("single_name", "LOST"), ("single_name", "A"),
        ("reconciliation", "ledger"),
    }  # fmt: skip
    lost = next(one for one in said if one.subject == "LOST")
    assert math.isnan(lost.positions[0].amount_usd)


def test_a_share_just_at_the_limit_by_rounding_is_no_breach():
    held = [position(f"S{i}", 1.0) for i in range(7)]
    assert told(held, equity=20.0, sector_limits={"biotech": 0.35, "other": 0.25}) == []
