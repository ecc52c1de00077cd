"""An empty result is explained by what stopped it."""

import numpy as np

from engine import events
from engine.events import Reason
from reports.explain import explain, failed_most
from reports.recorder import Recorder
from tests.reports.made_run import DAYS, FILLS, ORDERS, SIGNALS, STRATEGIES, UNIVERSE, Named, recorder, rows


def test_a_strategy_without_signals_names_the_conditions_that_failed_most():
    silent = Named("silent", tally={"warmup": 30, "volume": 60, "range": 9, "signal": 1, "never": 0})
    lines = explain(recorder((silent,)), [silent], bars=1_000, rows=50)
    assert lines == {
        "silent": "1,000 bars scanned, no signal: bars ended most often at volume 60.0 %, then warmup 30.0 %,"
        " then range 9.0 %"
    }


def test_too_little_data_for_the_warm_up_is_said_first():
    silent = Named("silent", tally={"warmup": 2})
    lines = explain(recorder((silent,)), [silent], bars=2, rows=2)
    assert lines["silent"].endswith("warm-up takes 2 bars per symbol, the data has 2")


def test_a_strategy_that_keeps_no_tally_is_not_made_up():
    assert failed_most({}) == "the strategy keeps no tally of its conditions"


def test_signals_that_were_all_refused_name_the_refusals():
    made = recorder()
    made.on_batch(events.Signals(SIGNALS[SIGNALS["strategy"] == 1]))
    refused = rows(
        events.Rejections, {"ts": DAYS[0], "strategy": 1, "side": 1, "reason": Reason.CAP_LIQUIDITY}
    )
    made.on_batch(events.Rejections(np.repeat(refused, 3)))
    lines = explain(made, STRATEGIES, bars=10, rows=9)
    assert lines["second"] == "10 bars scanned, 1 signal, no order: cap_liquidity 3"


def test_orders_that_never_filled_name_how_they_ended():
    made = recorder()
    made.on_batch(events.Signals(SIGNALS[SIGNALS["strategy"] == 1]))
    made.on_batch(events.Orders(ORDERS))
    lines = explain(made, STRATEGIES, bars=10, rows=9)
    assert lines["second"] == "10 bars scanned, 1 signal, 1 order, none filled: no_trade 1"


def test_a_strategy_that_traded_is_not_mentioned():
    made = recorder()
    made.on_batch(events.Signals(SIGNALS[SIGNALS["strategy"] == 0]))
    made.on_batch(events.Fills(FILLS))
    assert "first" not in explain(made, STRATEGIES, bars=10, rows=9)


def blended():
    return Recorder(UNIVERSE, STRATEGIES, ("blend",), capital_usd=[100.0])


def test_in_a_blend_the_blend_answers_for_the_votes():
    made = blended()
    made.on_batch(events.Signals(SIGNALS[SIGNALS["strategy"] == 0]))
    made.on_batch(events.Rejections(rows(events.Rejections, {"strategy": 2, "side": 1, "reason": 33})))
    lines = explain(made, STRATEGIES, bars=10, rows=9)
    assert set(lines) == {"second", "blend"}
    assert lines["blend"] == "10 bars scanned, 3 signals, no order: below_min 1"


def test_a_blend_that_traded_is_not_mentioned():
    made = blended()
    made.on_batch(events.Signals(SIGNALS[SIGNALS["strategy"] == 0]))
    made.on_batch(events.Fills(FILLS))
    assert set(explain(made, STRATEGIES, bars=10, rows=9)) == {"second"}
