"""The audit accuses every planted look ahead, says where it is, and accuses no honest strategy."""

import copy

import numpy as np
import pytest

from engine.slab import Bars
from reports.audit import Audit
from strategies import registry
from tests.reports import guilty_strategies as planted
from tests.strategies.random_tapes import random_tape, universe


def audit_of(tape, **options):
    bars = Bars(*tape[:6], tape.actions, tape.benchmark)
    return Audit(universe(tape.close.shape[1]), bars, **options)


@pytest.fixture(scope="module")
def audit():
    return audit_of(random_tape(3, 900, 30), n_cuts=120, seed=5)


def judged(audit, strategy):
    return audit.of(lambda known_until: copy.deepcopy(strategy))


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_the_built_in_strategies_see_no_future(audit, name):
    verdict = judged(audit, registry.create(name))
    assert verdict.finding is None
    assert verdict.counts == {}
    assert verdict.n_signals == 0 or verdict.word == "clean"


def test_an_honest_strategy_of_third_parties_is_never_accused():
    for seed in range(6):
        verdict = judged(audit_of(random_tape(seed, 400, 8), n_cuts=60, seed=seed), planted.Mean20())
        assert verdict.word == "clean"
        assert verdict.history.settled_bars == 20


@pytest.mark.parametrize(
    ("cheat", "inputs", "ahead"),
    [
        (planted.Clairvoyant, {"close"}, 1),
        (planted.Centred, {"close"}, 5),
        (planted.ShiftedHigh, {"close"}, 1),
        (planted.Peeping, {"close"}, 1),
    ],
)
def test_a_look_ahead_is_traced_to_its_input_and_how_far_it_sees(audit, cheat, inputs, ahead):
    verdict = judged(audit, cheat())
    assert verdict.word == "guilty"
    leads = audit.traced(verdict)
    assert {lead.input for lead in leads} == inputs
    assert leads[0].nearest == 1
    assert leads[0].farthest in (ahead, ahead - (ahead > 1))  # The symbol may have no bar on the farthest


def test_a_full_sample_normalisation_is_guilty_of_reading_volume(audit):
    verdict = judged(audit, planted.Normalised())
    assert verdict.word == "guilty"
    (lead,) = audit.traced(verdict)
    assert (lead.input, lead.nearest) == ("volume", 1)
    assert lead.farthest > 100


def test_the_first_offending_bar_is_named(audit):
    verdict = judged(audit, planted.Clairvoyant())
    close, ts = audit.futures.real.close, audit.futures.real.ts
    with np.errstate(invalid="ignore"):
        first = np.argwhere((close[1:] > 1.02 * close[:-1]) & (audit.futures.real.status[:-1] >= 2))[0]
    where = verdict.finding.difference
    assert (where.ts, where.symbol, where.field) == (ts[first[0]], first[1], "signal")
    assert where.one is None
    assert where.other == close[first[0], first[1]]


def test_most_cuts_catch_a_peek_at_the_next_bar_by_perturbing_and_by_removing(audit):
    counts = judged(audit, planted.Clairvoyant()).counts
    assert counts["perturbed"] > 100
    assert counts["removed"] > 100
    assert counts["bar_by_bar"] == 1


def test_dependence_on_where_history_starts_is_named_with_its_field(audit):
    verdict = judged(audit, planted.SinceForever())
    assert verdict.finding.kind == "history"
    assert verdict.word == "guilty"
    assert verdict.history.settled_bars is None


def test_an_average_with_a_fading_memory_is_clean_and_its_decay_measured(audit):
    history = judged(audit, registry.create("trend")).history
    assert history.warmup_bars == 60
    assert history.settled_bars in (240, 480, 960)
    gaps = list(history.decay.values())
    assert gaps == sorted(gaps, reverse=True)


def test_a_state_that_forgets_is_told_from_a_look_ahead(audit):
    verdict = judged(audit, planted.Forgetful())
    assert verdict.finding.kind == "restored"
    assert set(verdict.counts) == {"restored"}


def test_a_strategy_that_does_not_listen_or_says_nothing_is_not_proven_clean(audit):
    assert "do not change" in judged(audit, planted.Calendar()).unproven
    silent = registry.create("livermore", max_range_percentage=1e-9)
    assert judged(audit, silent).unproven == "it gave no signal on these data"
    assert judged(audit, silent).word == "unproven"


def test_facts_of_the_future_are_kept_from_the_past(audit):
    asked = []

    def make(known_until):
        asked.append(known_until)
        return planted.Mean20()

    audit.of(make)
    ends = [moment for moment in asked if moment is not None]
    assert len(ends) >= 3
    assert set(ends) <= {int(audit.futures.real.ts[cut]) for cut in audit.cuts}


def test_made_up_futures_differ_in_every_bar_and_leave_the_past_alone(audit):
    futures = audit.futures
    tape = futures.perturbed(100, 120, 160, 1)
    for name in ("open", "high", "low", "close", "volume", "status"):
        real = getattr(futures.real, name)
        np.testing.assert_array_equal(getattr(tape, name)[:21], real[100:121])
    traded = futures.real.status[121:160] >= 2
    assert np.all(tape.close[21:][traded] != futures.real.close[121:160][traded])
    assert not np.shares_memory(tape.close, futures.real.close)
    assert np.all(np.isnan(tape.close[21:][np.isnan(futures.real.close[121:160])]))
