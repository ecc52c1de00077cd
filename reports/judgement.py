"""What the other configurations tried on the same data say about a result: is it more than the best of luck?

1. K_eff = rho + (1 - rho) K of K trials counts for the deflated Sharpe ratio, rho their mean correlation.
2. The probability of overfitting compares this run with every trial that has a return on each of its days.
   Trials over fewer days, and those so old that their returns are no longer kept, count in K alone. Trials
   with the same return on each of these days are one: a twin can neither win nor lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.counted import counted
from reports.files import Column, floats, text
from reports.formulas import ANNUAL_SESSIONS, LOST
from reports.overfitting import BLOCKS, Overfitting, probability_of_overfitting
from reports.statistics import Significance, significance
from storage.trials import DailyReturns, Trials

Float = NDArray[np.float64]

FILE = "performance/significance.csv"
COUNTED = ("trials", "mean_correlation", "effective_trials", "sharpe_daily_by_luck", "dsr")  # by all trials


class Judgement(NamedTuple):
    """overfitting is None where fewer than two configurations can be compared; `reason` says why. uncounted:
    why the trials are not known, "" where they are; nothing that depends on their number is defined then."""

    significance: Significance
    effective_trials: float
    mean_correlation: float | None
    overfitting: Overfitting | None
    reason: str
    uncounted: str = ""

    def figures(self) -> dict[str, tuple[float | None, str]]:
        """Return every figure by name, None where undefined, with what it is."""
        said, of, found = self.significance, self.significance.sample, self.overfitting
        made: dict[str, tuple[float | None, str]] = {
            "trials": (
                said.trials,
                "configurations tried on these data so far, this one included",
            ),
            "mean_correlation": (self.mean_correlation, "of the daily returns of the trials compared"),
            "effective_trials": (
                self.effective_trials,
                "independent trials that these are worth",
            ),
            "days": (of and of.n, "daily returns"),
            "sharpe_daily": (of and of.sharpe, "mean / deviation of daily excess returns, not annualised"),
            "skew": (of and of.skew, "of daily excess returns"),
            "kurtosis": (of and of.kurtosis, "of daily excess returns; 3 for a normal distribution"),
            "psr": (said.psr, "probability that the true Sharpe ratio is > 0"),
            "sharpe_daily_by_luck": (said.threshold, "what the best of so many trials reaches by luck"),
            "dsr": (said.dsr, "probability that the true Sharpe ratio is above that"),
            "track_record_days": (said.track_record_days, "days like these that a PSR of 95 % needs"),
            "pbo": (found and found.pbo, "probability that the best trial ends below the median"),
            "pbo_slope": (found and found.slope, "Sharpe ratio afterwards per unit of the one before"),
            "pbo_loss": (
                found and found.loss_probability,
                "probability that the best trial then loses money",
            ),
            "pbo_configurations": (
                found and found.n_configurations,
                "trials compared, over the same days, with different returns",
            ),
            "pbo_days": (
                found and found.n_days,
                f"days compared, halved in all ways by {BLOCKS} blocks",
            ),
        }
        if self.uncounted:
            made |= {name: (None, made[name][1]) for name in COUNTED}
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return what `run.json` holds."""
        undefined = {
            "significance": self.significance.reason,
            "pbo": self.reason or None,
            "trials": self.uncounted or None,
        }
        return {
            **{name: value for name, (value, _) in self.figures().items()},
            "undefined": {name: reason for name, reason in undefined.items() if reason},
        }

    def table(self) -> tuple[Sequence[str], Sequence[Column]]:
        """Return header and cells of `performance/significance.csv`."""
        figures = self.figures()
        reasons = ["" if value is not None else self._why(name) for name, (value, _) in figures.items()]
        values = [np.nan if value is None else float(value) for value, _ in figures.values()]
        return ("metric", "value", "convention", "reason"), (
            text(figures), floats(np.array(values)), text(what for _, what in figures.values()),
            text(reasons),
        )  # fmt: skip

    def _why(self, name: str) -> str:
        if self.uncounted and name in COUNTED:
            return self.uncounted
        if name == "mean_correlation":
            return "needs two trials over the same days whose returns vary"
        return (self.reason if name.startswith("pbo") else self.significance.reason) or ""


def judge(
    own: DailyReturns, trials: Trials, *, risk_free_rate: float = 0.0, uncounted: str = ""
) -> Judgement:
    """Judge daily returns by all trials on the same data, themselves included. risk_free_rate: a year;
    uncounted: why `trials` is not all there were."""
    daily_rate = (1 + risk_free_rate) ** (1 / ANNUAL_SESSIONS) - 1
    is_whole = bool(np.all(np.isfinite(own.returns)))
    matrix = comparable(own, trials.daily if is_whole else ()) - daily_rate
    correlation = mean_correlation(matrix) if is_whole else None
    rho = min(max(correlation or 0.0, 0.0), 1.0)
    said = significance(
        own.returns, risk_free_rate=risk_free_rate, trial_sharpes=trials.sharpes, trials=trials.total,
        mean_correlation=rho,
    )  # fmt: skip
    different = distinct(matrix)
    n_days, n = different.shape
    found, reason = None, ""
    if uncounted:
        reason = uncounted
    elif not is_whole:
        reason = LOST
    elif n < 2:
        others = counted(trials.total - 1, "other configurations")
        reason = (
            "the only configuration tried on these data so far"
            if trials.total < 2
            else f"{others} tried, none with returns kept that differ on these days"
        )
    elif n_days < 2 * BLOCKS:
        reason = f"needs {2 * BLOCKS} days, has {n_days}"
    else:
        found = probability_of_overfitting(different)
    return Judgement(said, rho + (1 - rho) * said.trials, correlation, found, reason, uncounted)


def comparable(own: DailyReturns, trials: Sequence[DailyReturns]) -> Float:
    """Return float64[T, N], the returns on the days of `own` of those trials that have all of them; `own`
    alone where it is not among them."""
    columns = []
    for each in trials:
        place = np.searchsorted(each.days, own.days)
        if not len(own.days) or place[-1] >= len(each.days) or np.any(each.days[place] != own.days):
            continue
        returns = each.returns[place]
        if np.all(np.isfinite(returns)):
            columns.append(returns)
    if not any(np.array_equal(column, own.returns) for column in columns):
        columns.append(own.returns)
    return np.column_stack(columns)


def distinct(returns: Float) -> Float:
    """Return the columns without those that equal an earlier one, in their order."""
    first = {column.tobytes(): i for i, column in reversed(list(enumerate(returns.T)))}
    return returns[:, sorted(first.values())]


def mean_correlation(returns: Float) -> float | None:
    """Return the mean correlation between different columns; None for fewer than two that vary."""
    if returns.shape[0] == 0:
        return None
    centred = returns - returns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    varying = length > 1e-12
    n = int(varying.sum())
    if n < 2:
        return None
    unit = centred[:, varying] / length[varying]
    total = float((unit.sum(axis=1) ** 2).sum())
    return (total - n) / (n * (n - 1))
