"""The explanation of a bar ends at the condition at which the kernel counted it, for random bars."""

import numpy as np
import pytest

from engine.slab import Bars
from reports.why_replay import explain_bar, of_symbol
from strategies import registry
from tests.strategies.bases import random_bases
from tests.strategies.random_tapes import random_tape, universe

CUP_OPTIONS = {
    "cup_depth_min": 0.05, "recovery_threshold": 0.7, "handle_pullback_min": 0.01, "volume_multiplier": 0.9,
    "cup_min_bars": 20, "min_roundness": 0.2, "max_dryup": 1.2, "handle_slope_nonpos": True, "above_sma": 60,
    "max_extension": 0.3, "price_basis": "hl",
}  # fmt: skip
LIVERMORE_OPTIONS = {
    "volume_multiplier": 0.8, "max_range_percentage": 0.5, "breakout_threshold": 0.0, "max_contraction": 1.0,
    "max_atr_ratio": 1.0, "above_sma": 50, "max_extension": 0.2, "cooldown_bars": 10,
}  # fmt: skip


def bars_of(tape):
    return Bars(*tape[:6], tape.actions, tape.benchmark)


def counted(strategy, names, bars, row):
    """Return the tally's entry that grew at the last row, replayed by the kernel row by row."""
    from engine.intake import Intake

    intake = Intake()
    intake.start(names)
    tape = intake.on_bars(bars.rows(0, row))
    strategy.start(names)
    strategy.on_bars(tape, 0)
    before = strategy.tally()
    strategy.on_bars(intake.on_bars(bars.rows(row, row + 1)), 0)
    return [name for name, n in strategy.tally().items() if n > before[name]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("zanger", {}), ("zanger", CUP_OPTIONS), ("livermore", {}), ("livermore", LIVERMORE_OPTIONS),
        ("trend", {}), ("trend", {"pending_bars": 3, "atr_method": "simple"}),
    ],
)  # fmt: skip
def test_the_first_failing_condition_is_the_one_the_kernel_counted(name, options):
    bars = bars_of(random_bases(4, 420, 6))
    rng = np.random.default_rng(1)
    seen = set()
    loud = np.argwhere(bars.volume > 1.2 * np.nanmedian(bars.volume, axis=0))
    chosen = [*loud[rng.choice(len(loud), 90, replace=False)], *rng.integers((1, 0), (420, 6), (40, 2))]
    for row, column in chosen:
        if row == 0:
            continue
        names, alone = of_symbol(universe(6), bars, int(column))
        found = explain_bar(registry.create(name, **options), names, alone, int(row), 0)
        if found.checks is None:
            assert "that day" in found.note
            continue
        assert [found.condition] == counted(registry.create(name, **options), names, alone, int(row))
        seen.add(found.condition)
    assert len(seen) >= 3


@pytest.mark.parametrize("options", [{}, {"min_score": 0.5, "w_i": 0.2, "cooldown_bars": 3}])
def test_the_score_of_can_slim_ends_where_the_kernel_did(options):
    bars = bars_of(random_tape(6, 420, 30))
    rng = np.random.default_rng(2)
    seen = set()
    for row, column in rng.integers((240, 0), (420, 30), (40, 2)).tolist():
        names, alone = of_symbol(universe(30), bars, column)
        found = explain_bar(registry.create("canslim", **options), universe(30), bars, row, column)
        if found.checks is None:
            continue
        # Alone the symbol ends where it does among 30 unless its rank decides; so ask the whole panel
        strategy = registry.create("canslim", **options)
        signals = [s for s in _signals(strategy, universe(30), bars, row) if s == column]
        assert (found.condition == "signal") == bool(signals)
        if found.condition in ("warmup", "cooldown"):
            assert [found.condition] == counted(registry.create("canslim", **options), names, alone, row) or (
                found.condition == "cooldown"
            )
        seen.add(found.condition)
    assert len(seen) >= 2


def _signals(strategy, names, bars, row):
    from engine.intake import Intake

    intake = Intake()
    intake.start(names)
    strategy.start(names)
    rows = strategy.on_bars(intake.on_bars(bars.rows(0, row + 1)), 0)
    return rows["symbol"][rows["ts"] == bars.ts[row]].tolist()


def test_a_signal_of_can_slim_has_the_score_and_rank_that_its_details_say():
    bars = bars_of(random_tape(6, 420, 30))
    from engine.intake import Intake

    intake = Intake()
    intake.start(universe(30))
    strategy = registry.create("canslim")
    strategy.start(universe(30))
    rows = strategy.on_bars(intake.on_bars(bars), 0)
    assert len(rows) > 5
    for signal in rows[:12]:
        row = int(np.searchsorted(bars.ts, signal["ts"]))
        found = explain_bar(registry.create("canslim"), universe(30), bars, row, int(signal["symbol"]))
        assert found.condition == "signal"
        score = next(check for check in found.checks if check.name == "score_below_min")
        assert f"score {signal['details'][0]:.4f}" in score.measured
        assert f"L {signal['details'][2]:.2f}" in score.measured


@pytest.mark.parametrize(
    ("c", "growth", "said"),
    [
        (1.0, 0.5, "growth 50%"), (1.0, np.nan, "profit after a loss"),
        (0.0, np.nan, "no profit, nor a year before"), (np.nan, np.nan, "no facts"),
    ],
)  # fmt: skip
def test_earnings_without_a_rate_of_growth_are_told_in_words(c, growth, said):
    from reports.why_score import _earnings

    assert _earnings(c, growth) == said
