"""The command `refresh-fundamentals`: ask services about companies and keep what they say, by its moment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import load_settings
from engine.counted import counted
from engine.errors import MissingPackage
from scripts.arguments import split_names
from scripts.assembly import UsageError
from scripts.console import FAILURE, note
from scripts.entry import INTERRUPTED
from scripts.interrupts import run_interruptible
from scripts.progress import Progress
from scripts.sources import read_symbols
from scripts.tables import console, print_line

if TYPE_CHECKING:
    from config.settings import Settings
    from feeds.fundamentals_refresh import Outcome, Refresher
    from feeds.fundamentals_store import FundamentalsStore

SEED = "seed_candidates.csv"  # in storage.universe_dir
_SHOWN = 20  # failures in the table; --json has all
_TOLD = {
    "market_cap": "market cap", "float_shares": "float", "sector": "sector", "average_volume": "volume",
    "quarterly_eps": "quarterly EPS", "annual_eps": "annual EPS", "roe": "ROE",
}  # fmt: skip


def run_refresh_fundamentals(
    symbols: str | None, *, limit: int | None = None, throttle: float = 0.0, json: bool = False,
    settings_path: Path | None = None, defaults_path: Path | None = None, force: bool = False,
) -> int:  # fmt: skip
    """Run the command and return its exit code: 0 unless a service stopped the run or nobody was answered."""
    from feeds.fundamentals_refresh import Outcome

    settings = load_settings(settings_path, defaults_path, force=force)
    store = fundamentals_store(settings)
    wanted = _wanted(symbols, settings, store)
    outcome = Outcome()

    async def work() -> None:
        async with open_refresher(settings, store, throttle_s=throttle) as refresher:
            asked = _limited(wanted, refresher, limit)
            with Progress(len(refresher.due(asked)), what="fundamentals") as progress:
                await refresher.refresh(asked, outcome, _counting(progress))

    interrupted = False
    try:
        run_interruptible(work())
    except KeyboardInterrupt:
        interrupted = True
    known = {name: store.as_of(name, time.time_ns()) for name in (*outcome.fresh, *outcome.fetched)}
    coverage = {
        field: sum(s is not None and field not in s.missing for s in known.values()) for field in _TOLD
    }
    if json:
        _print_json(outcome, coverage, store.folder, interrupted)
    else:
        _print_report(outcome, coverage, len(known), store.folder)
    if interrupted:
        note("interrupted: what was fetched is kept; the same command goes on from here")
        return INTERRUPTED
    return FAILURE if outcome.unasked or (outcome.failed and not known) else 0


def fundamentals_store(settings: Settings) -> FundamentalsStore:
    """Return the store under `storage.universe_dir`, with the caches of `fundamentals.json_dir`."""
    from feeds.fundamentals_store import FundamentalsStore
    from feeds.visibility import Lag

    assumed = settings.fundamentals
    lag, legacy = Lag(assumed.lag_days_quarter, assumed.lag_days_year), assumed.json_dir
    folder = Path(settings.storage.universe_dir).expanduser() / "fundamentals"
    return FundamentalsStore(folder, legacy=Path(legacy).expanduser() if legacy else None, lag=lag)


@asynccontextmanager
async def open_refresher(
    settings: Settings, store: FundamentalsStore, *, throttle_s: float = 0.0
) -> AsyncIterator[Refresher]:
    """Within, a refresher of Yahoo and, where there is a key, Alpha Vantage.

    throttle_s: seconds between two requests to one service, where the limits of the settings are shorter.
    """
    from feeds.alpha_vantage import SERVICE, AlphaVantage
    from feeds.fundamentals_refresh import Refresher
    from feeds.http import Http
    from feeds.provider import FundamentalsProvider
    from feeds.rate_limit import DayCount, RateLimit
    from feeds.retry import Patience

    try:
        from feeds.yahoo_fundamentals import YahooFundamentals
    except ImportError:
        raise MissingPackage("fundamentals of Yahoo need yfinance: pip install yfinance") from None
    asked, storage = settings.data_sources, settings.storage
    patience = Patience(asked.retries + 1, asked.backoff_seconds, asked.backoff_seconds_max)
    days = settings.fundamentals.cache_ttl_days
    options: dict[str, Any] = {
        "ttl_s": None if days is None else days * 86_400.0, "now_ns": time.time_ns,
        "workers": asked.fundamentals_workers,
    }  # fmt: skip
    yahoo = YahooFundamentals(
        RateLimit(asked.yahoo_calls_per_minute, interval_s=throttle_s, clock=time.monotonic),
        time.time_ns, base_url=asked.yahoo_url, patience=patience, timeout_s=asked.timeout_seconds,
    )  # fmt: skip
    sources: list[FundamentalsProvider] = [yahoo]
    if asked.alpha_vantage_key is None:
        yield Refresher(sources, store, **options)
        return
    per_day = asked.alpha_vantage_calls_per_day
    count = Path(storage.universe_dir).expanduser() / "alpha_vantage_calls.json"
    limit = RateLimit(
        asked.alpha_vantage_calls_per_minute, interval_s=throttle_s,
        day=None if per_day is None else DayCount(count, SERVICE, per_day, time.time), clock=time.monotonic,
    )  # fmt: skip
    async with Http(
        SERVICE, asked.alpha_vantage_url, limit, patience=patience, timeout_s=asked.timeout_seconds
    ) as http:
        sources.append(AlphaVantage(http, asked.alpha_vantage_key, limit, time.time_ns))
        yield Refresher(sources, store, **options)


def _wanted(symbols: str | None, settings: Settings, store: FundamentalsStore) -> list[str]:
    if symbols is not None:
        if Path(symbols).is_file() or _is_path(symbols):
            return list(dict.fromkeys(read_symbols(Path(symbols))))
        return split_names([symbols.upper()])
    seed = Path(settings.storage.universe_dir).expanduser() / SEED
    names = read_symbols(seed) if seed.is_file() else []
    names = list(dict.fromkeys([*names, *store.symbols()]))
    if not names:
        raise UsageError(f"no symbols: give --symbols A,B or a file, or put a list at {seed}")
    return names


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.lower().endswith((".csv", ".txt"))


def _limited(symbols: list[str], refresher: Refresher, limit: int | None) -> list[str]:
    """Return the symbols with no more than `limit` that are due: fresh ones cost nothing."""
    if limit is None:
        return symbols
    due = refresher.due(symbols)
    beyond = set(due[limit:])
    return [symbol for symbol in symbols if symbol not in beyond]


def _counting(progress: Progress) -> Callable[[str], None]:
    done = 0

    def count(symbol: str) -> None:
        nonlocal done
        done += 1
        progress.fetching(done)

    return count


def _print_report(outcome: Outcome, coverage: dict[str, int], n_known: int, folder: Path) -> None:
    total = len(outcome.fresh) + len(outcome.fetched) + len(outcome.failed) + len(outcome.unasked)
    parts = [f"fetched {len(outcome.fetched):,} of {counted(total, 'symbols')}"]
    parts += [f"{len(outcome.fresh):,} fresh"] if outcome.fresh else []
    parts += [f"{len(outcome.failed):,} failed"] if outcome.failed else []
    parts += [f"{len(outcome.unasked):,} not asked"] if outcome.unasked else []
    print_line(", ".join(parts))
    if n_known:
        told = ", ".join(f"{_TOLD[field]} {n:,}" for field, n in coverage.items())
        print_line(f"known of {n_known:,}: {told}")
    filled = outcome.answers.get("alpha_vantage", 0)
    if filled:
        print_line(f"Alpha Vantage filled in for {filled:,}")
    for error in outcome.stopped.values():
        print_line(f"stopped asking {error.service}: {error.detail}")
    _print_failures(outcome)
    print_line(f"kept in {folder}")


def _print_failures(outcome: Outcome) -> None:
    from rich.table import Table

    if not outcome.failed:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("failed", no_wrap=True)
    table.add_column("why", overflow="fold")
    for symbol, error in list(outcome.failed.items())[:_SHOWN]:
        table.add_row(symbol, str(error).replace(f" about {symbol}:", ":", 1))
    console().print(table)
    if len(outcome.failed) > _SHOWN:
        print_line(f"... and {len(outcome.failed) - _SHOWN:,} more; --json lists all")


def _print_json(outcome: Outcome, coverage: dict[str, int], folder: Path, interrupted: bool) -> None:
    import json

    def told(error: Any) -> dict[str, Any]:
        return {"failure": str(getattr(error, "failure", "data")), "message": str(error)}

    failures: Sequence[tuple[str, Any]] = (("failed", outcome.failed), ("gaps", outcome.gaps))
    print(json.dumps({
        "fetched": outcome.fetched, "fresh": outcome.fresh, "not_asked": outcome.unasked,
        **{name: {symbol: told(error) for symbol, error in errors.items()} for name, errors in failures},
        "stopped": {name: told(error) for name, error in outcome.stopped.items()},
        "answers": outcome.answers, "coverage": coverage, "folder": str(folder), "interrupted": interrupted,
    }))  # fmt: skip
