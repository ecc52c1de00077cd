"""The recorder keeps every row, and its hash tells runs apart but not slabbings."""

import numpy as np
import pytest

from engine import events
from engine.events import Equity
from tests.reports.made_run import DAYS, EQUITY, FILLS, GROSS, SIGNALS, STRATEGIES, Named, recorder, replay


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_the_event_log_hash_does_not_depend_on_the_slabs(n_rows):
    assert replay(recorder(), n_rows).event_log_hash() == replay(recorder(), len(DAYS)).event_log_hash()


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_rows_come_back_in_the_same_order_for_any_slabs(n_rows):
    cut, whole = replay(recorder(), n_rows), replay(recorder(), len(DAYS))
    for kind in (events.Signals, events.Orders, events.Fills, events.Trades):
        assert cut.rows(kind).tobytes() == whole.rows(kind).tobytes()
    assert np.array_equal(cut.equity().equity, EQUITY)
    assert np.array_equal(cut.equity().gross, GROSS)
    assert np.array_equal(cut.benchmark_close(), [100.0, 101.0, 102.0, 103.0])


def test_signals_are_ordered_by_time_then_strategy_then_symbol():
    rows = replay(recorder(), 1).rows(events.Signals)
    keys = list(zip(rows["ts"].tolist(), rows["strategy"].tolist(), rows["symbol"].tolist(), strict=True))
    assert keys == sorted(keys)
    assert len(keys) == len(SIGNALS)


@pytest.mark.parametrize("field", ["quantity", "fee_micro", "price", "reason"])
def test_any_changed_field_changes_the_hash(field):
    one, other = recorder(), recorder()
    changed = FILLS.copy()
    changed[field] += 1
    one.on_batch(events.Fills(FILLS))
    other.on_batch(events.Fills(changed))
    assert one.event_log_hash() != other.event_log_hash()


def test_the_same_bytes_as_another_kind_of_event_give_another_hash():
    one, other = recorder(), recorder()
    cash, gross = np.array([[1, 2]]), np.array([[3, 4]])
    one.on_equity(Equity(np.array([1]), np.dstack([cash, gross, gross])))
    other.on_equity(Equity(np.array([1]), np.dstack([gross, cash, gross])))
    assert one.event_log_hash() != other.event_log_hash()


def test_orders_are_counted_once_however_often_their_status_changes():
    counts = replay(recorder(), 2).counts()
    assert counts == {
        "signals": 4, "orders": 2, "fills": 1, "rejections": 2, "cashflows": 1, "trades": 1, "risk_events": 1,
    }  # fmt: skip


def test_rejections_are_counted_by_reason_and_strategy():
    made = replay(recorder(), 2)
    assert made.rejections_by_reason() == {"already_held": 1, "below_min_notional": 1}
    assert made.rejections_by_reason(1) == {}


def test_a_recorder_that_heard_nothing_has_empty_tables():
    empty = recorder()
    assert len(empty.rows(events.Signals)) == 0
    assert empty.equity().equity.shape == (0, 2)
    assert empty.event_log_hash() == recorder().event_log_hash()


def test_the_blend_has_a_name_and_measurements_of_its_own():
    made = recorder((*STRATEGIES, Named("third")))
    assert made.strategy_names[-1] == "blend"
    assert made.measurements[-1][-3:] == ("share_first", "share_second", "share_third")
