"""The golden numbers of the specification, and definitions written out slowly."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.events import TRADE_DTYPE
from reports.bootstrap import block_length, bootstrap, resampled_days
from reports.daily import Daily
from reports.metrics import compute
from reports.overfitting import probability_of_overfitting
from reports.statistics import (
    Sample,
    effective_trials,
    expected_maximum,
    luck_threshold,
    probabilistic_sharpe,
    sample,
    significance,
    track_record_days,
    z_score,
)

DAY = 86_400 * 10**9
GOLDEN = Sample(sharpe=0.1, n=1000, skew=-0.5, kurtosis=6.0)


def noise(n=600, seed=3, mean=0.0005):
    return np.random.Generator(np.random.PCG64(seed)).normal(mean, 0.01, n)


def account(returns):
    ts = 1_672_770_000 * 10**9 + DAY * (np.arange(len(returns)) * 365 // 252)
    return Daily(ts, 100 * np.cumprod(1 + returns), 100.0)


@pytest.mark.parametrize(("k", "bracket"), [(10, 1.5746), (40, 2.1895), (100, 2.5306), (1000, 3.2551)])
def test_the_expected_best_of_k_trials_is_the_golden_bracket(k, bracket):
    assert expected_maximum(k) == pytest.approx(bracket, abs=5e-5)


def test_the_golden_score_of_a_skewed_and_fat_tailed_series():
    assert z_score(GOLDEN) == pytest.approx(3.0663, abs=5e-5)
    assert probabilistic_sharpe(GOLDEN) == pytest.approx(0.5 * math.erfc(-3.0663 / math.sqrt(2)), abs=1e-6)


def test_one_trial_has_nothing_to_deflate():
    made = significance(noise(), trial_sharpes=[0.05])
    assert made.threshold == 0.0
    assert made.dsr == made.psr


def test_more_trials_deflate_more():
    spread = [0.01, 0.05, 0.02, 0.06]
    thresholds = [luck_threshold(spread, trials=k) for k in (1, 2, 10, 1000)]
    assert thresholds == sorted(thresholds)
    assert thresholds[2] == pytest.approx(np.std(spread, ddof=1) * 1.5746, rel=1e-4)
    made = significance(noise(), trial_sharpes=spread, trials=1000)
    assert made.dsr < made.psr
    assert made.trials == 1000


def test_perfectly_correlated_trials_are_one():
    assert effective_trials(50, 1.0) == 1.0
    assert effective_trials(50, 0.0) == 50.0
    assert effective_trials(50, 0.5) == 25.5


def test_a_track_record_of_the_minimum_length_has_the_level():
    days = track_record_days(GOLDEN, level=0.95)
    assert probabilistic_sharpe(GOLDEN._replace(n=days)) == pytest.approx(0.95, rel=1e-12)
    assert track_record_days(GOLDEN._replace(sharpe=-0.1)) is None


def test_kurtosis_is_raw():
    assert sample(noise(200_000)).kurtosis == pytest.approx(3.0, abs=0.1)


def test_a_series_that_does_not_vary_has_no_significance():
    made = significance(np.zeros(100))
    assert (made.psr, made.reason) == (None, "no Sharpe ratio")


class TestBootstrap:
    @pytest.mark.parametrize(("n", "length"), [(10, 5), (252, 11), (3530, 27)])
    def test_blocks_grow_with_the_cube_root(self, n, length):
        assert block_length(n) == length

    def test_one_seed_gives_one_result(self):
        one, again, other = (bootstrap(account(noise()), resamples=200, seed=s) for s in (1, 1, 2))
        assert one == again
        assert one.intervals["sharpe"] != other.intervals["sharpe"]

    def test_an_interval_holds_the_value_and_a_drawdown_stays_a_share(self):
        made = bootstrap(account(noise(seed=8)), benchmark=noise(seed=9), resamples=500).intervals
        for name in ("cagr", "sharpe", "sortino", "alpha"):
            assert made[name].low < made[name].value < made[name].high
        assert 0 <= made["max_drawdown"].low < made["max_drawdown"].high <= 1

    def test_a_resample_of_the_days_in_their_order_has_the_figures_of_the_account(self):
        r, b = noise(), noise(seed=4)

        class InOrder:
            def integers(self, low, high, size):
                return np.zeros(size, np.int64)

            def geometric(self, p, size):
                return np.full(size, len(r), np.int64)

        history = account(r)
        made = resampled_days(
            r, b, InOrder(), resamples=3, block=10, years=history.calendar_days / 365.25, rate=0.0
        )
        figures = compute(history, benchmark=b)
        expected = [figures[n].value for n in ("cagr", "sharpe", "sortino", "max_drawdown", "alpha")]
        for row in made:
            assert row == pytest.approx(expected, rel=1e-9)

    @given(seed=st.integers(0, 2**32), scale=st.floats(0.0, 0.5))
    @settings(max_examples=25, deadline=None)
    def test_no_drawdown_is_worse_than_everything(self, seed, scale):
        r = np.clip(noise(60, seed=seed) * 100 * scale, -1.0, None)
        table = resampled_days(
            r, np.full(60, np.nan), np.random.Generator(np.random.PCG64(seed)),
            resamples=50, block=5, years=1.0, rate=0.0,
        )  # fmt: skip
        assert np.all((table[:, 3] >= 0) & (table[:, 3] <= 1))

    def test_the_spread_of_means_is_that_of_independent_days_when_they_are(self):
        table = resampled_days(
            noise(2000), np.full(2000, np.nan), np.random.Generator(np.random.PCG64(1)),
            resamples=4000, block=5, years=8.0, rate=0.0,
        )  # fmt: skip
        # Standard error of an annualised Sharpe ratio of 8 years of independent days
        assert table[:, 1].std() == pytest.approx(math.sqrt(252 / 2000), rel=0.1)

    def test_trades_are_drawn_one_by_one(self):
        trades = np.zeros(400, TRADE_DTYPE)
        trades["ret"], trades["r_multiple"] = noise(400), np.nan
        made = bootstrap(account(noise()), trades=trades, resamples=2000).intervals
        half = (made["expectancy_return"].high - made["expectancy_return"].low) / 2
        assert half == pytest.approx(1.96 * 0.01 / 20, rel=0.1)
        assert made["expectancy_r"].low is None
        assert made["expectancy_r"].reason == "no trade had a stop below its entry"

    @pytest.mark.parametrize("returns", [np.empty(0), np.array([0.01]), np.zeros(100)])
    def test_what_has_no_figure_has_no_interval_and_a_reason(self, returns):
        made = bootstrap(account(returns), resamples=20).intervals["sharpe"]
        assert (made.value, made.low, made.high) == (None, None, None)
        assert made.reason


class TestOverfitting:
    def slow(self, returns, blocks):
        size = len(returns) // blocks
        parts = returns[len(returns) - size * blocks :].reshape(blocks, size, -1)
        logits, n = [], returns.shape[1]
        for chosen in combinations(range(blocks), blocks // 2):
            rest = [b for b in range(blocks) if b not in chosen]
            inside, outside = (np.concatenate(parts[list(half)]) for half in (chosen, rest))
            best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1)))
            after = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
            rank = np.sum(after < after[best]) + (np.sum(after == after[best]) + 1) / 2
            logits.append(math.log(rank / (n + 1) / (1 - rank / (n + 1))))
        return np.array(logits)

    def test_it_equals_the_definition_written_out(self):
        returns = np.column_stack([noise(133, seed=s, mean=s * 1e-4) for s in range(7)])
        made = probability_of_overfitting(returns, blocks=8)
        assert sorted(made.logits) == pytest.approx(sorted(self.slow(returns, 8)), rel=1e-9)
        assert (made.n_days, made.n_configurations) == (128, 7)

    def test_all_halvings_of_sixteen_blocks_are_tried(self):
        made = probability_of_overfitting(np.column_stack([noise(seed=s) for s in range(3)]))
        assert len(made.logits) == 12_870

    def test_luck_alone_is_overfitting_half_of_the_time_and_skill_is_none(self):
        luck = [
            probability_of_overfitting(
                np.random.Generator(np.random.PCG64(seed)).normal(0, 0.01, (320, 20)), blocks=8
            ).pbo
            for seed in range(40)
        ]
        assert np.mean(luck) == pytest.approx(0.5, abs=0.12)
        skill = np.random.Generator(np.random.PCG64(1)).normal(0, 0.01, (320, 20))
        skill[:, 4] += 0.005
        made = probability_of_overfitting(skill, blocks=8)
        assert made.pbo == 0.0
        assert made.loss_probability == 0.0

    def test_equal_configurations_share_their_rank(self):
        one = noise()
        made = probability_of_overfitting(np.column_stack((one, one, one)), blocks=4)
        assert made.logits == pytest.approx(np.zeros(6))

    def test_a_configuration_that_never_trades_has_a_ratio_of_nothing(self):
        made = probability_of_overfitting(np.column_stack((np.zeros(64), noise(64, mean=-0.05))), blocks=4)
        assert made.inside == pytest.approx(np.zeros(6))
        assert made.loss_probability == 0.0

    @pytest.mark.parametrize("returns", [np.zeros((100, 1)), np.zeros((20, 3)), np.full((100, 2), np.nan)])
    def test_what_cannot_be_halved_is_refused(self, returns):
        with pytest.raises(EngineError, match="PBO needs"):
            probability_of_overfitting(returns)
