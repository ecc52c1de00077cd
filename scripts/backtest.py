"""The `backtest` command: build a run, drive it, report it.

Ctrl-C ends the run after the slab in work: what has happened by then is reported and written like a whole
run, and `run.json` says that it was interrupted. `--email` comes last, after everything is printed and
written: a mail that fails is one line and exit code 1, and costs no results.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import TYPE_CHECKING, Any

from config import load_settings, settings_as_dict
from engine.counted import counted
from engine.errors import DataError, SmallcapError
from engine.garbage import uncollected
from scripts import mail, trials
from scripts.assembly import BacktestRequest, UsageError, build_strategies, desk_config, normalised_weights
from scripts.compilation import compile_ahead
from scripts.console import note, prints_beside_results
from scripts.intrabar import intrabar_spread
from scripts.progress import Progress, compiled_kernels, telling_of_compilation
from scripts.stops import moving_stops

if TYPE_CHECKING:
    from brokers.desk import Desk
    from config.settings import Settings
    from engine.loop import Loop
    from engine.slab import Feed
    from feeds.quality import Quality
    from feeds.weights import BenchmarkWeights
    from reports.judgement import Judgement
    from reports.performance import Summary
    from reports.recorder import Recorder
    from strategies.base import Strategy

DONE, INTERRUPTED = 0, 130
_NOT_RECORDED = ("output_dir", "pdf", "email", "json")  # options that say where results go, not what they are


@dataclass
class Run:
    """The objects of one backtest. `seconds` holds what its phases took."""

    request: BacktestRequest
    settings: Settings
    feed: Feed
    quality: Quality  # of prices and facts
    strategies: list[Strategy]
    weights: list[float]
    desk: Desk
    loop: Loop
    recorder: Recorder
    code: str  # hash of the kernels' sources when they were loaded
    seconds: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False
    intrabar_spread: dict[str, float] | None = None  # None: no bar was ambiguous
    judgement: Judgement | None = None  # by all trials on these data
    benchmark_weights: BenchmarkWeights | None = None

    @property
    def counts(self) -> dict[str, int]:
        counters = self.loop.counters
        return {
            "rows": counters.rows,
            "bars": counters.bars,
            "traded_bars": counters.traded_bars,
            "invalid_bars": counters.invalid_bars,
            **self.recorder.counts(),
            "ambiguous_bars": self.desk.ambiguous_bars,
        }


def run_backtest(
    request: BacktestRequest,
    *,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
) -> int:
    """Run the command and return its exit code."""
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    started = time.perf_counter()
    settings = load_settings(settings_path, defaults_path, force=force)
    if request.pdf:
        _can_print(request)
    if request.email:
        mail.require_settings(settings.email)
    if request.output_dir is not None:
        _make_writable(request.output_dir)
    known = compiled_kernels()  # Counted here: loading may compile the first ones
    with prints_beside_results():
        run = prepare(request, settings)
        run.seconds["load"] = time.perf_counter() - started
        with telling_of_compilation(known):
            if known == 0:
                compile_ahead(run.strategies)
            replay(run)
        reporting = time.perf_counter()
        summary = summarised(run)
        run.judgement = trials.judged(run, summary)
        paths: list[Path] = []
        if request.output_dir is not None:
            (request.output_dir / "run.json").unlink(missing_ok=True)  # From here on it is no longer whole
            # Of the millions of cells made there none refers to another; looking at all takes a seventh of it
            with uncollected(), telling_of_half_a_folder(request.output_dir):
                paths = write_files(run, summary, request.output_dir, started, reporting, started_at)
    run.seconds["total"] = time.perf_counter() - started
    if request.json:
        print_json(run, summary, paths)
    else:
        print_report(run, summary, paths)
    if run.interrupted:
        kept = f"kept in {request.output_dir}" if paths else "nothing was written: no --output-dir"
        note(f"interrupted after {run.loop.counters.rows:,} of {_rows_total(run.feed) or '?'} rows; {kept}")
        if request.email:
            note("interrupted: no e-mail was sent")
    elif request.email:
        send_summary(run, summary, paths)
    return INTERRUPTED if run.interrupted else DONE


def prepare(request: BacktestRequest, settings: Settings) -> Run:
    """Build everything a run needs. Mistakes in options come to light before data are read."""
    from brokers.desk import Desk
    from engine.jit import source_hash
    from engine.loop import Loop
    from reports.recorder import Recorder
    from scripts.sources import load_facts, open_feed

    strategies = build_strategies(
        request.strategies, request.params, request.strategy_modules, settings.strategy_weights
    )
    weights = normalised_weights(strategies, settings.strategy_weights)
    benchmark_weights = sector_weights(request)
    config = desk_config(settings, mode=request.mode, capital=request.capital)
    feed = open_feed(request, settings)
    facts_quality = load_facts(request, settings, feed.universe, strategies)
    desk = Desk(feed.universe, strategies, config, weights)
    loop = Loop(feed.universe, strategies, desk)
    recorder = Recorder.attached_to(loop)
    quality = joined(getattr(feed, "quality", None), facts_quality)
    return Run(
        request, settings, feed, quality, strategies, weights, desk, loop, recorder, source_hash(),
        benchmark_weights=benchmark_weights,
    )  # fmt: skip


def sector_weights(request: BacktestRequest) -> BenchmarkWeights | None:
    """Return what --benchmark-weights says, None without it."""
    if request.benchmark_weights is None:
        return None
    if request.output_dir is None:
        raise UsageError("--benchmark-weights goes with --output-dir, where its effects are written")
    from feeds.weights import read_weights

    return read_weights(request.benchmark_weights)


def joined(*parts: Quality | None) -> Quality:
    """Return what was set aside of several sources, as one."""
    from feeds.quality import Quality, join_rows

    known = [part for part in parts if part is not None]
    return Quality(
        join_rows([part.table for part in known]), tuple(note for part in known for note in part.notes)
    )


def replay(run: Run) -> None:
    """Drive the loop over the feed, with progress on stderr."""
    began = time.perf_counter()
    with Progress(_rows_total(run.feed)) as progress, stopping_at_ctrl_c(run.loop):
        run.interrupted = not asyncio.run(run.loop.run(run.feed, run.request.slab_rows, progress))
    run.seconds["run"] = time.perf_counter() - began
    if run.loop.counters.rows == 0:
        raise DataError("the feed holds no bars for these symbols and days")
    if run.desk.ambiguous_bars and not run.interrupted:
        run.intrabar_spread = intrabar_spread(
            run.feed, run.strategies, run.desk.config, run.weights, run.request.slab_rows
        )


@contextmanager
def stopping_at_ctrl_c(loop: Loop) -> Iterator[None]:
    """Within, the first Ctrl-C asks the loop to stop after its slab; a second one stops at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        note("stopping after this slab; press Ctrl-C again to stop at once")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def summarised(run: Run) -> Summary:
    """Return the figures of the run so far."""
    from engine.events import CashFlows, Fills, Trades
    from reports.performance import summarise

    recorder = run.recorder
    return summarise(
        recorder.equity(),
        recorder.accounts,
        recorder.capital_usd,
        recorder.benchmark_close(),
        risk_free_rate=run.settings.backtest.risk_free_rate,
        trades=recorder.rows(Trades),
        fills=recorder.rows(Fills),
        cashflows=recorder.rows(CashFlows),
    )


def write_files(
    run: Run, summary: Summary, directory: Path, started: float, reporting: float, started_at: str
) -> list[Path]:
    """Write the CSV files, the tear sheet, and run.json last: a folder that has it is complete."""
    from reports.artefacts import write_run
    from reports.attribution import attribute
    from reports.benchmark_sectors import SectorReader
    from reports.evidence import write_disclosures, write_evidence
    from reports.manifest import write_manifest
    from reports.nearby import look_again
    from reports.pdf import NAME, write_pdf
    from reports.tearsheet import deflated_plotly, write_tearsheet

    manifest_path = directory / "run.json"
    threading.Thread(target=deflated_plotly, daemon=True).start()  # Done by the time the tear sheet is
    attribution = attribute(run.recorder)
    positions = run.desk.open_positions()
    stops = None
    if not run.interrupted:
        stops = moving_stops(run.feed, run.strategies, run.desk.config, run.weights)
    paths = write_run(
        directory, run.recorder, summary, run.quality.table, attribution, positions=positions, stops=stops
    )
    benchmark = None
    if run.benchmark_weights is not None:
        benchmark = SectorReader(run.feed.universe, run.benchmark_weights)
    others = [benchmark] if benchmark else []
    nearby = look_again(
        run.feed, run.recorder, slab_rows=run.request.slab_rows, others=others, positions=positions
    )
    rate = run.settings.backtest.risk_free_rate
    paths += write_evidence(
        directory,
        run.recorder,
        summary,
        nearby,
        attribution,
        risk_free_rate=rate,
        judgement=run.judgement,
        sectors=benchmark.result() if benchmark else None,
    )
    manifest = {**described(run, summary), **nearby.described()}
    paths.append(write_disclosures(directory, manifest))
    paths.append(write_tearsheet(directory, manifest))
    if run.request.pdf:
        paths.append(write_pdf(directory, manifest))
    else:
        (directory / NAME).unlink(missing_ok=True)  # Of an earlier run into the same folder
    now = time.perf_counter()
    run.seconds.update(report=now - reporting, total=now - started)
    write_manifest(manifest_path, {**manifest, "timings": timings(run, started_at)})
    return [*paths, manifest_path]


@contextmanager
def telling_of_half_a_folder(directory: Path) -> Iterator[None]:
    """Within, files are written: whatever stops that says that the folder is not whole."""
    half = f"{directory} holds half a run and no run.json; run it again"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(half) from None
    except OSError as error:
        raise SmallcapError(f"{error.strerror or error}; {half}") from error


def described(run: Run, summary: Summary) -> dict[str, Any]:
    """Return the record of a run that `run.json` holds; nothing in it depends on the clock."""
    from reports import manifest

    options = {name: value for name, value in asdict(run.request).items() if name not in _NOT_RECORDED}
    return {
        "command": "backtest",
        "interrupted": run.interrupted,
        "options": options,
        "settings": settings_as_dict(run.settings),
        "mode": run.desk.config.mode.name.lower(),
        "capital": run.desk.config.capital_usd,
        "seed": run.request.seed,
        "strategies": manifest.describe_strategies(run.strategies, run.weights),
        "data": manifest.describe_data(run.feed, run.quality, run.recorder),
        "universe": list(run.feed.universe.symbols),
        "index": index.described() if (index := getattr(run.feed, "index", None)) else None,
        "code": run.code,
        "versions": manifest.code_versions(),
        "counts": run.counts,
        "rejections": run.recorder.rejections_by_reason(),
        "metrics": manifest.metrics(summary),
        "undefined": manifest.undefined(summary),
        "benchmark_days": summary.benchmark_days,
        "significance": run.judgement.as_dict() if run.judgement else None,
        "benchmark_weights": manifest.describe_weights(run.benchmark_weights),
        "open_positions": manifest.describe_positions(run.recorder, run.desk.open_positions()),
        "intrabar_spread": run.intrabar_spread,
        "untraded": untraded(run),
        "event_log_hash": run.recorder.event_log_hash(),
    }


def timings(run: Run, started_at: str) -> dict[str, Any]:
    bars_per_second = run.loop.counters.bars / max(run.seconds["run"], 1e-9)
    return {
        "started_at": started_at,
        **{f"{name}_seconds": round(seconds, 4) for name, seconds in run.seconds.items()},
        "bars_per_second": round(bars_per_second),
    }


def untraded(run: Run) -> dict[str, str]:
    """Return, per strategy that traded nothing, why."""
    from reports.explain import explain

    counters = run.loop.counters
    return explain(run.recorder, run.strategies, bars=counters.traded_bars, rows=counters.rows)


def print_json(run: Run, summary: Summary, paths: list[Path]) -> None:
    """Print the outcome as one JSON object in one line."""
    from reports import manifest

    outcome = {
        "metrics": manifest.metrics(summary),
        "undefined": manifest.undefined(summary),
        "significance": run.judgement.as_dict() if run.judgement else None,
        "attribution": [part._asdict() for part in summary.attribution],
        "counts": run.counts,
        "rejections": run.recorder.rejections_by_reason(),
        "untraded": untraded(run),
        "data": manifest.describe_data(run.feed, run.quality, run.recorder),
        "paths": [str(path) for path in paths],
        "event_log_hash": run.recorder.event_log_hash(),
        "interrupted": run.interrupted,
        "seconds": {name: round(value, 4) for name, value in run.seconds.items()},
    }
    print(manifest.to_json(outcome, indent=None), end="")


def print_report(run: Run, summary: Summary, paths: list[Path]) -> None:
    """Print the outcome for people."""
    from reports.manifest import describe_data
    from scripts import tables

    data, counts = describe_data(run.feed, run.quality, run.recorder), run.counts
    tables.print_line(str(data["source"]))
    tables.print_line(
        f"{data['first']} to {data['last']}: {counted(data['rows'], 'rows')} x"
        f" {counted(data['symbols'], 'symbols')}, {run.desk.config.mode.name.lower()} mode"
    )
    tables.print_line("")
    tables.print_summary(summary)
    if run.judgement is not None:
        tables.print_line(trials.sentence(run.judgement))
    tables.print_line("")
    tables.print_counts(
        counts["bars"], counts, run.recorder.rejections_by_reason(), len(run.desk.open_positions())
    )
    if counts["ambiguous_bars"]:
        policy = run.desk.config.intrabar.name.lower()
        tables.print_line(
            f"stop and target in one bar: {counts['ambiguous_bars']:,} times, taken as {policy}"
            f"{spread_text(run.intrabar_spread)}"
        )
    tables.print_untraded(untraded(run))
    tables.print_quality(run.quality)
    speed = counts["bars"] / max(run.seconds["run"], 1e-9) / 1e6
    tables.print_line(
        f"{run.seconds['total']:.1f} s, {run.seconds['run']:.2f} s of it in the loop ({speed:.1f} M bars/s);"
        f" event log {run.recorder.event_log_hash()[:16]}"
    )
    if run.request.output_dir is not None:
        tables.print_files(run.request.output_dir, paths)


def send_summary(run: Run, summary: Summary, paths: list[Path]) -> None:
    """Mail the outcome. MailError when it does not reach everyone."""
    from reports.mail import message

    email, folder = run.settings.email, run.request.output_dir
    names = sorted(path.relative_to(folder).as_posix() for path in paths) if folder else []
    sent = mail.deliver(email, message(email, described(run, summary), folder=folder, names=names))
    note(f"mailed to {counted(sent, 'recipients')} through {email.smtp_server}")


def spread_text(spread: dict[str, float] | None) -> str:
    return f"; best and worst end {spread['usd']:,.2f} apart" if spread else ""


def _rows_total(feed: Feed) -> int | None:
    return getattr(feed, "n_rows", None)


def _can_print(request: BacktestRequest) -> None:
    """Find out now what --pdf lacks: not after a run of minutes."""
    from reports.pdf import require_chromium

    if request.output_dir is None:
        raise UsageError("--pdf goes with --output-dir, where tearsheet.pdf is written")
    require_chromium()


def _make_writable(directory: Path) -> None:
    """Create the folder now, and a file in it: a run of minutes must not end in an error about a path."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise SmallcapError(f"--output-dir {directory}: {error.strerror}") from None
