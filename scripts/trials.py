"""What a finished backtest tells the trial registry, and what the registry says about its Sharpe ratio."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from risk.sectors import sector_key
from scripts.console import note
from scripts.sources import facts_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from reports.judgement import Judgement
    from reports.performance import Summary
    from scripts.backtest import Run


def judged(run: Run, summary: Summary) -> Judgement:
    """Record a run as a trial and judge it by all trials on its data.

    A registry that cannot be written is one line on stderr; how many trials there were is not known then,
    as it is for a run that was interrupted, which is none.
    """
    import numpy as np

    from reports.judgement import judge
    from reports.statistics import sample
    from storage.database import StorageError, database_url
    from storage.trials import DailyReturns, Trial, Trials, config_hash, record_trial

    storage, rate = run.settings.storage, run.settings.backtest.risk_free_rate
    history = summary.combined.history
    daily = DailyReturns(history.days.astype("datetime64[D]").astype(np.int32), history.returns)
    of = sample(daily.returns - ((1 + rate) ** (1 / 252) - 1))
    trial = Trial(
        data_fingerprint=_data(run),
        config_hash=config_hash(configuration(run)),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command="backtest",
        sharpe=of.sharpe if of else None,
        n=len(daily.returns),
        skew=of.skew if of else None,
        kurtosis=of.kurtosis if of else None,
        event_log_hash=run.recorder.event_log_hash(),
        label=", ".join(strategy.name for strategy in run.strategies),
    )
    configured = storage.database_url.reveal() if storage.database_url is not None else None
    trials, uncounted = Trials(1, (of.sharpe,) if of else ()), ""
    if run.interrupted:
        uncounted = "the run was interrupted"
    else:
        try:
            trials = record_trial(database_url(storage.data_dir, configured), trial, daily)
        except StorageError as error:
            uncounted = f"the trials on these data could not be counted: {error}"
            note(f"this run is not counted as a trial: {error}")
    return judge(daily, trials, risk_free_rate=rate, uncounted=uncounted)


def _data(run: Run) -> str:
    """Return what tells data sets apart. Days are not of it, whatever a feed holds of them: another window is
    another trial on the same data. Nor is the version that reads a file: an update forgets no trial."""
    names = ("whole_fingerprint", "fingerprint", "source")
    return str(next(filter(None, (getattr(run.feed, name, None) for name in names)), "unknown"))


def configuration(run: Run) -> dict[str, Any]:
    """Return everything that makes a run a trial of its own on its data: strategies with parameters, exits
    and weights, the desk, the symbols and days, and what options add to the data. Not in it: where results
    go, slab size, Sharpe's rate."""
    facts = facts_path(run.request, run.settings, run.strategies)
    return {
        "strategies": [
            {
                "name": s.name,
                "parameters": s.parameters(),
                "exits": s.exits._asdict(),
                "weight": float(weight),
            }
            for s, weight in zip(run.strategies, run.weights, strict=True)
        ],
        "modules": [hashlib.sha256(path.read_bytes()).hexdigest() for path in run.request.strategy_modules],
        "desk": asdict(run.desk.config),
        "symbols": list(run.feed.universe.symbols),
        "window": [run.request.start, run.request.end],
        "fundamentals": _content(facts.expanduser()) if facts is not None else None,
        **_added(run),
    }


def _added(run: Run) -> dict[str, Any]:
    """Return the sectors, the members of an index and the benchmark that options brought: sectors and members
    limit what is bought, the benchmark's regime shuts entries."""
    request, universe = run.request, run.feed.universe
    made: dict[str, Any] = {}
    if request.sectors is not None or request.universe is not None:
        made["sectors"] = [
            sector_key(*each) for each in zip(universe.sectors, universe.industries, strict=True)
        ]
    if universe.membership is not None:
        made["members"] = _digest(universe.membership.since_ns, universe.membership.is_member)
    if request.benchmark is not None:
        made["benchmark"] = _digest(run.recorder.benchmark_close())
    return made


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _content(path: Path) -> str:
    """Return the hash of a file, or of the names and contents of the files in a folder."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def sentence(made: Judgement) -> str:
    """Say in one line how far the Sharpe ratio is to be trusted."""
    said = made.significance
    trials = "trials on these data: " + ("not counted" if made.uncounted else f"{said.trials:,}")
    if said.psr is None or said.dsr is None:
        return f"{trials}; {said.reason}"
    days = said.track_record_days
    record = f"to be 95% sure of > 0 takes {days:,.0f} days like these" if days is not None else said.reason
    luck = f", that it is more than the luck of the best trial: {_share(said.dsr)}"
    told = (
        f"{trials}; probability that the Sharpe ratio is > 0: {_share(said.psr)}"
        f"{'' if made.uncounted else luck}; {record}"
    )
    if made.overfitting is None:
        return told
    return (
        f"{told}; probability that the best of {made.overfitting.n_configurations:,} trials is overfitted"
        f" (PBO): {_share(made.overfitting.pbo)}"
    )


def _share(probability: float) -> str:
    """A probability is never shown as certain."""
    return "<0.1%" if probability < 0.001 else ">99.9%" if probability > 0.999 else f"{probability:.1%}"
