"""The command `schedule-fundamentals`: refresh fundamentals and sector metadata when the settings say so.

1. One cycle at a time, on this machine: a lock in `storage.universe_dir`, which dies with its process.
2. `sector_metadata.csv` is replaced whole by a cycle that passes validation, and by no other.
3. Facts of single companies are kept as they come; they are dated and never replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import load_settings
from engine.counted import counted
from engine.errors import ConfigError, DataError, MissingPackage, SmallcapError
from scripts.console import FAILURE, note, report_error
from scripts.entry import INTERRUPTED
from scripts.interrupts import run_interruptible
from scripts.progress import Progress
from scripts.refresh_fundamentals import SEED, fundamentals_store, open_refresher
from scripts.tables import print_line

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from config.settings import Settings
    from feeds.fundamentals_refresh import Outcome
    from universe.sector_metadata import Coverage, SectorRow, Wanted

METADATA = "sector_metadata.csv"  # in storage.universe_dir
LOCK = ".schedule-fundamentals.lock"
_SETTINGS = "automation.fundamentals_refresh"
_SHOWN = 5


class CycleError(SmallcapError):
    """A cycle could not run, or its result was refused (exit code 1). The last good metadata stay."""


@dataclass
class Cycle:
    """What one cycle did. Filled while it runs."""

    started_at: datetime
    outcome: Outcome
    notes: list[str] = field(default_factory=list)
    coverage: Coverage | None = None
    rows: list[SectorRow] = field(default_factory=list)
    unknown_sectors: dict[str, list[str]] = field(default_factory=dict)
    path: Path | None = None  # of the metadata, where they were replaced


def run_schedule(
    *, run_once: bool, force: bool, include_sp500: bool | None, include_russell: bool | None, json: bool,
    settings_path: Path | None = None, defaults_path: Path | None = None, reload: bool = False,
) -> int:  # fmt: skip
    """Run the command and return its exit code. None for an index: as the settings say."""
    settings = load_settings(settings_path, defaults_path, force=reload)
    plan = settings.automation.fundamentals_refresh
    if not (plan.enabled or force or run_once):
        raise ConfigError(f"{_SETTINGS}.enabled is false; set it to true, or give --force or --run-once")
    sp500 = plan.include_sp500 if include_sp500 is None else include_sp500
    russell = plan.include_russell if include_russell is None else include_russell

    async def cycle() -> Cycle:
        return await run_cycle(settings, sp500=sp500, russell=russell)

    def tell(done: Cycle) -> None:
        _print_json(done, settings) if json else _print_report(done, settings)

    if run_once:
        try:
            done = run_interruptible(cycle())
        except KeyboardInterrupt:
            note("interrupted: what was fetched is kept, the sector metadata stay as they were")
            return INTERRUPTED
        tell(done)
        return FAILURE if done.path is None else 0
    try:
        from universe.schedule import WallClock
    except ImportError:
        raise MissingPackage("the schedule needs apscheduler: pip install apscheduler") from None
    try:
        run_interruptible(_loop(WallClock(plan), cycle, tell))
    except KeyboardInterrupt:
        note("interrupted: what was fetched is kept")
        return INTERRUPTED
    note("stopped")
    return 0


async def run_cycle(settings: Settings, *, sp500: bool, russell: bool) -> Cycle:
    """Refresh what is known of the universe, judge it, and publish the sector metadata if it is good enough.

    Raises CycleError where another cycle is under way, UsageError or DataError where there is no universe.
    """
    from filelock import FileLock, Timeout

    from feeds.atomic import write_whole
    from feeds.fundamentals_refresh import Outcome
    from universe.sector_metadata import coverage, sector_rows
    from universe.sectors import unknown_sectors

    folder = Path(settings.storage.universe_dir).expanduser()
    plan = settings.automation.fundamentals_refresh
    cycle = Cycle(datetime.now().astimezone(), Outcome())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=0):
            wanted = universe_names(settings, cycle.notes, sp500=sp500, russell=russell)
            symbols = list(dict.fromkeys(name.company.symbol for name in wanted))
            store = fundamentals_store(settings)
            async with open_refresher(settings, store, throttle_s=plan.throttle_seconds) as refresher:
                with Progress(len(refresher.due(symbols)), what="fundamentals") as progress:
                    await refresher.refresh(symbols, cycle.outcome, _counting(progress))
            now_ns = time.time_ns()
            known = {}
            for symbol in symbols:
                with contextlib.suppress(DataError):  # A damaged file: the outcome has it among the failed
                    snapshot = store.as_of(symbol, now_ns)
                    if snapshot is not None:
                        known[symbol] = snapshot
            cycle.coverage = coverage(symbols, known, plan.validation, now_ns=now_ns)
            cycle.rows = sector_rows(wanted, known)
            sectors = {row.symbol: row.sector for row in cycle.rows}
            listed = ((symbol, sectors.get(symbol, ""), "") for symbol in symbols)
            cycle.unknown_sectors = unknown_sectors(listed)
            if not cycle.coverage.breaches:
                write_whole(folder / METADATA, _csv(cycle.rows))
                cycle.path = folder / METADATA
    except Timeout:
        raise CycleError(
            f"another refresh is under way (it holds {folder / LOCK}); wait until it ends"
        ) from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return cycle


def universe_names(settings: Settings, notes: list[str], *, sp500: bool, russell: bool) -> list[Wanted]:
    """Return the names to refresh: the seed list and the Russell 2000 as small caps, the S&P 500."""
    from feeds.holdings import Company, read_holdings
    from feeds.symbols import symbol_key
    from scripts.assembly import UsageError
    from universe.constituents import RUSSELL_2000, SP500, ConstituentStore, Index
    from universe.sector_metadata import SMALL_CAP, Wanted

    folder = Path(settings.storage.universe_dir).expanduser()
    small: dict[str, Company] = {}
    large: dict[str, Company] = {}

    def add(found: dict[str, Company], companies: Any) -> None:
        for company in companies:
            key = symbol_key(company.symbol)
            found.setdefault(key, company._replace(symbol=key))

    def add_index(found: dict[str, Company], index: Index, plain: str) -> None:
        newest = ConstituentStore(folder).newest(index)
        if newest is not None:
            add(found, newest.companies)
        elif (folder / plain).is_file():
            add(found, read_holdings(folder / plain).companies)
            notes.append(f"{plain} has no date; {index.refresh} fetches the list of the {index.label}")
        else:
            notes.append(f"no list of the {index.label}: left out; {index.refresh} fetches it")

    if (folder / SEED).is_file():
        held = read_holdings(folder / SEED)
        add(small, held.companies)
        if held.left_out:
            notes.append(f"{SEED}: {counted(len(held.left_out), 'rows')} left out, no symbol")
    if russell:
        add_index(small, RUSSELL_2000, "russell_2000.csv")
    if sp500:
        add_index(large, SP500, "sp500.csv")
    if not small and not large:
        raise UsageError(
            f"no names to refresh: put a list at {folder / SEED}, or fetch one with {RUSSELL_2000.refresh}"
            f" and keep {_SETTINGS}.include_russell on"
        )
    return [
        *(Wanted(SMALL_CAP, company) for company in small.values()),
        *(Wanted(SP500.key, company) for company in large.values()),
    ]


async def _loop(trigger: BaseTrigger, cycle: Callable[[], Any], tell: Callable[[Cycle], None]) -> None:
    """Run cycles until SIGTERM. A cycle that fails is said, and the next one comes at its time."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    async def work() -> None:
        try:
            tell(await cycle())
        except asyncio.CancelledError:  # The program ends, which APScheduler would log with a traceback
            note("the refresh under way is broken off: what was fetched is kept")
            return
        except Exception as error:  # Whatever spoiled this one must not take the next ones away
            report_error(error)
        _say_next(job)

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    scheduler = AsyncIOScheduler(timezone=UTC)
    # A machine that slept through its time makes up for it once, when it wakes
    job = scheduler.add_job(work, trigger, max_instances=1, coalesce=True, misfire_grace_time=None)
    scheduler.start()
    try:
        _say_next(job)
        await stop.wait()
    finally:
        scheduler.shutdown(wait=False)


def _say_next(job: Any) -> None:
    note(f"next refresh {job.next_run_time:%A %Y-%m-%d %H:%M %Z}; Ctrl-C or SIGTERM ends this")


def _counting(progress: Progress) -> Callable[[str], None]:
    done = 0

    def count(symbol: str) -> None:
        nonlocal done
        done += 1
        progress.fetching(done)

    return count


def _csv(rows: list[SectorRow]) -> bytes:
    from reports.files import text
    from universe.sector_metadata import SectorRow

    cells = [text([getattr(row, name) for row in rows]) for name in SectorRow._fields]
    lines = [",".join(SectorRow._fields), *map(",".join, zip(*cells, strict=True))]
    return ("\n".join(lines) + "\n").encode()


def _print_json(done: Cycle, settings: Settings) -> None:
    from reports.manifest import to_json

    outcome, judged = done.outcome, done.coverage
    document = {
        "started_at": done.started_at.isoformat(timespec="seconds"),
        "asked": judged.asked if judged else 0,
        "usable": judged.usable if judged else 0,
        "fetched": outcome.fetched,
        "fresh": outcome.fresh,
        "failed": {symbol: str(error) for symbol, error in outcome.failed.items()},
        "not_asked": outcome.unasked,
        "stopped": {service: str(error) for service, error in outcome.stopped.items()},
        "poor": list(judged.poor) if judged else [],
        "breaches": list(judged.breaches) if judged else [],
        "unknown_sectors": done.unknown_sectors,
        "rows": len(done.rows),
        "path": str(done.path) if done.path else None,
        "last_good": _last_good(settings),
        "notes": done.notes,
    }
    print(to_json(document, indent=None), end="")


def _print_report(done: Cycle, settings: Settings) -> None:
    outcome, judged = done.outcome, done.coverage
    if judged is None:
        return
    for line in done.notes:
        note(line)
    print_line(
        f"{judged.usable:,} of {counted(judged.asked, 'symbols')} usable: {len(outcome.fetched):,} fetched,"
        f" {len(outcome.fresh):,} fresh, {len(outcome.failed):,} failed, {len(judged.poor):,} too old or poor"
    )
    for symbol, error in list(outcome.failed.items())[:_SHOWN]:
        print_line(f"  {symbol}: {error}")
    if len(outcome.failed) > _SHOWN:
        print_line(f"  and {len(outcome.failed) - _SHOWN:,} more; --json lists them")
    for stopped in outcome.stopped.values():
        print_line(f"stopped asking {stopped.service}: {stopped.detail}")
    for sector, symbols in done.unknown_sectors.items():
        what = f"unknown sector {sector!r}" if sector else "no sector, so not in the metadata"
        more = f" and {len(symbols) - _SHOWN:,} more" if len(symbols) > _SHOWN else ""
        print_line(f"{what}: {', '.join(symbols[:_SHOWN])}{more}")
    if done.path is not None:
        print_line(f"sector metadata of {counted(len(done.rows), 'names')}: {done.path}")
        return
    for breach in judged.breaches:
        note(f"refused: {breach}")
    last = _last_good(settings)
    note(f"the sector metadata of {last} stay" if last else "there are no sector metadata yet")


def _last_good(settings: Settings) -> str | None:
    """Return when the metadata in force were written (ISO, local time), None where there are none."""
    path = Path(settings.storage.universe_dir).expanduser() / METADATA
    if not path.exists():
        return None
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="minutes")
