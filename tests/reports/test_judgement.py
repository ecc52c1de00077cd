"""What other trials on the same data say about a run."""

import numpy as np
import pytest

from reports.judgement import comparable, judge, mean_correlation
from reports.overfitting import probability_of_overfitting
from reports.statistics import effective_trials, significance
from storage.trials import DailyReturns, Trials

RANDOM = np.random.Generator(np.random.PCG64(11))


def returns(first=0, n=400, scale=0.01):
    return DailyReturns(np.arange(first, first + n, dtype=np.int32), RANDOM.normal(3e-4, scale, n))


def test_a_run_alone_has_no_probability_of_overfitting_and_says_why():
    own = returns()
    made = judge(own, Trials(1, (0.03,), (own,)))
    assert made.overfitting is None
    assert made.reason == "the only configuration tried on these data so far"
    assert made.significance == significance(own.returns, trial_sharpes=(0.03,), trials=1)
    assert (made.effective_trials, made.mean_correlation) == (1, None)


def test_trials_over_the_same_days_are_compared_and_others_only_counted():
    own, longer = returns(100), returns(0, 900)
    gap = DailyReturns(np.delete(longer.days, 150), np.delete(longer.returns, 150))
    trials = (returns(100, 200), longer, own, gap, returns(101))
    matrix = comparable(own, trials)
    assert np.array_equal(matrix, np.column_stack((longer.returns[100:500], own.returns)))
    made = judge(own, Trials(9, (0.01, 0.02, 0.05), trials), risk_free_rate=0.02)
    daily_rate = 1.02 ** (1 / 252) - 1
    assert made.overfitting.pbo == probability_of_overfitting(matrix - daily_rate).pbo
    assert made.significance.trials == 9
    alone = judge(own, Trials(3, (0.01, 0.02), trials[:1]))
    assert alone.reason == "2 other configurations tried, none with returns kept that differ on these days"


def test_a_twin_is_no_configuration_to_be_compared_with():
    own, other = returns(), returns()
    twin = DailyReturns(own.days, own.returns.copy())
    made = judge(own, Trials(2, (0.03, 0.03), (own, twin)))
    assert (made.overfitting, made.effective_trials) == (None, pytest.approx(1))
    assert made.reason == "1 other configuration tried, none with returns kept that differ on these days"
    with_twins = judge(own, Trials(4, (0.03, 0.02), (twin, other, own, other)))
    assert with_twins.overfitting.n_configurations == 2
    assert with_twins.overfitting.pbo == judge(own, Trials(2, (), (own, other))).overfitting.pbo


def test_a_run_that_lost_everything_is_judged_by_that_and_compared_with_nothing():
    other, lost = returns(), returns()
    lost.returns[200], lost.returns[201:] = -1.0, np.nan
    made = judge(lost, Trials(2, (0.03,), (lost, other)))
    assert (made.overfitting, made.reason) == (None, "all capital was lost")
    assert (made.significance.psr, made.significance.dsr, made.mean_correlation) == (None, None, None)
    assert made.effective_trials == 2
    assert judge(other, Trials(2, (0.03,), (lost, other))).reason.startswith("1 other")


def test_correlated_trials_are_worth_fewer():
    own = returns()
    twins = tuple(DailyReturns(own.days, own.returns + RANDOM.normal(0, 1e-4, 400)) for _ in range(9))
    sharpes = tuple(float(each.returns.mean() / each.returns.std()) for each in (own, *twins))
    made = judge(own, Trials(10, sharpes, (own, *twins)))
    assert made.mean_correlation == pytest.approx(1, abs=0.01)
    assert made.effective_trials == effective_trials(10, made.mean_correlation)
    assert made.significance.dsr > significance(own.returns, trial_sharpes=sharpes, trials=10).dsr


def test_trials_worth_little_more_than_one_never_make_a_result_look_better():
    own = returns()
    for noise in (1e-4, 4e-3, 0.01, 0.02):
        other = DailyReturns(own.days, own.returns + RANDOM.normal(0, noise, 400))
        sharpes = tuple(float(each.returns.mean() / each.returns.std()) for each in (own, other))
        said = judge(own, Trials(2, sharpes, (own, other))).significance
        assert said.dsr <= said.psr


def test_the_mean_correlation_is_that_of_all_pairs_that_vary():
    matrix = np.column_stack([returns().returns for _ in range(4)])
    matrix[:, 1] += matrix[:, 0]
    pairs = np.corrcoef(matrix.T)[np.triu_indices(4, 1)]
    assert mean_correlation(matrix) == pytest.approx(pairs.mean(), abs=1e-12)
    flat = np.column_stack((matrix, np.full(400, 0.001)))
    assert mean_correlation(flat) == pytest.approx(pairs.mean(), abs=1e-12)
    assert mean_correlation(flat[:, -1:]) is None


def test_a_short_run_says_how_many_days_it_needs():
    own = returns(0, 20)
    assert judge(own, Trials(2, (0.1,), (own, returns(0, 20)))).reason == "needs 32 days, has 20"
    empty = DailyReturns(np.empty(0, np.int32), np.empty(0))
    assert judge(empty, Trials(2, (), (own,))).overfitting is None


def test_every_figure_is_a_row_with_a_reason_where_it_is_undefined():
    own = returns()
    header, (names, values, what, reasons) = judge(own, Trials(1, (0.03,), (own,))).table()
    assert header == ("metric", "value", "convention", "reason")
    rows = dict(zip(names, zip(values, reasons, strict=True), strict=True))
    assert rows["pbo"] == ("", "the only configuration tried on these data so far")
    assert rows["trials"] == ("1.0", "")
    assert all(what)
