"""Where the prices and facts of a run come from: files, Yahoo, or the synthetic market."""

from __future__ import annotations

import csv
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from engine.errors import DataError
from engine.slab import Bars, Feed, Universe
from scripts.assembly import BacktestRequest, UsageError, day
from scripts.console import note
from scripts.progress import Progress

if TYPE_CHECKING:
    from config.settings import Settings
    from feeds.panel import PanelFeed
    from feeds.quality import Quality
    from strategies.base import Strategy

YAHOO_YEARS = 10  # downloaded without --start
_NEW_YORK = ZoneInfo("America/New_York")


def open_feed(request: BacktestRequest, settings: Settings) -> Feed:
    """Return the feed that the options ask for: --data, else symbols from Yahoo, else the synthetic one."""
    start, end = day(request.start, "--start"), day(request.end, "--end")
    if start and end and start > end:
        raise UsageError(f"--start must not be after --end, was {start} and {end}")
    adjustment: Any = request.adjustment or settings.backtest.adjustment
    symbols = wanted_symbols(request)
    benchmark = split_benchmark(request.benchmark)
    if request.universe is not None:
        return _of_index(request, settings, adjustment, symbols, start, end, benchmark)
    if request.data is not None:
        return _from_files(request, settings, adjustment, symbols, start, end, benchmark, request.sectors)
    if symbols:
        return _from_yahoo(request, settings, adjustment, symbols, start, end, benchmark, request.sectors)
    for option, value in (("--sectors", request.sectors), ("--benchmark", request.benchmark)):
        if value is not None:
            raise UsageError(f"{option} goes with --data or --symbol; the synthetic market brings its own")
    from feeds.synthetic import SyntheticMarket

    market = SyntheticMarket(seed=request.seed, adjustment=adjustment)
    return market if start is None and end is None else Window(market, start, end)


def wanted_symbols(request: BacktestRequest) -> tuple[str, ...]:
    """Return the symbols of --symbol and --symbols, upper case, each once."""
    symbols = [symbol.upper() for symbol in request.symbols]
    if request.symbols_file is not None:
        symbols += read_symbols(request.symbols_file)
    return tuple(dict.fromkeys(symbols))


def read_symbols(path: Path) -> list[str]:
    """Return the symbols of a file: one per line, or the column `symbol` or `ticker` of a CSV. What follows a
    # is a comment."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--symbols {path}: {getattr(error, 'strerror', None) or error}") from None
    rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in ("symbol", "ticker") if name in header), None)
    if column is not None:
        rows = rows[1:]
    found = [row[column or 0].partition("#")[0].strip().upper() for row in rows if len(row) > (column or 0)]
    symbols = [symbol for symbol in found if symbol]
    if not symbols:
        raise DataError(f"--symbols {path}: holds no symbols")
    return symbols


def split_benchmark(option: str | None) -> tuple[Path, str] | None:
    """Return path and symbol of PATH:SYMBOL."""
    if option is None:
        return None
    path, colon, symbol = option.rpartition(":")
    if not (path and colon and symbol):
        raise UsageError(f"--benchmark must be PATH:SYMBOL, was {option!r}")
    return Path(path), symbol


def facts_path(request: BacktestRequest, settings: Settings, strategies: Sequence[Strategy]) -> Path | None:
    """Return where dated facts come from: --fundamentals, else the settings, for strategies that use any."""
    configured = settings.fundamentals
    if request.fundamentals is not None or not configured.enabled or not _users(strategies):
        return request.fundamentals
    chosen = configured.csv_path or configured.json_dir
    return Path(chosen) if chosen else None


def _users(strategies: Sequence[Strategy]) -> list[Any]:
    return [strategy for strategy in strategies if hasattr(strategy, "use_facts")]


def load_facts(
    request: BacktestRequest, settings: Settings, universe: Universe, strategies: Sequence[Strategy]
) -> Quality | None:
    """Hand dated facts to the strategies that use them: those of --fundamentals, else those of the settings.

    Returns what was wrong with them, None without any.
    """
    configured, users = settings.fundamentals, _users(strategies)
    path = facts_path(request, settings, strategies)
    if path is None:
        return None
    if not users:
        raise UsageError("--fundamentals is for can_slim, which is not among the strategies")
    from feeds.fundamentals import read_facts
    from feeds.visibility import Lag

    lag = Lag(configured.lag_days_quarter, configured.lag_days_year)
    facts = read_facts(path, strict=request.strict, lag=lag)
    rows = facts.for_universe(universe)
    for strategy in users:
        strategy.use_facts(rows)
    remark = f"{path}: {len(rows):,} of {len(facts):,} facts are about these symbols and used"
    return replace(facts.quality, notes=(*facts.quality.notes, remark))


class Window:
    """The rows of a feed in memory from `start` to `end`, both included, by New York date.

    `whole_fingerprint`: of the market that it is cut from. Its trials are counted together.
    """

    def __init__(self, market: Any, start: date | None, end: date | None) -> None:
        ts = market.bars.ts
        first = np.searchsorted(ts, _midnight_ns(start)) if start else 0
        last = np.searchsorted(ts, _midnight_ns(end + timedelta(days=1))) if end else len(ts)
        if first >= last:
            raise DataError(f"no bars from {start or 'the first'} to {end or 'the last'}: {market.source}")
        self._market = market
        self.bars: Bars = market.bars.rows(int(first), int(last))
        self.quality = market.quality
        self.whole_fingerprint: str = market.fingerprint
        self.fingerprint = f"{self.whole_fingerprint} rows {first}:{last}"
        self.source = f"{market.source}, from {start or 'the first'} to {end or 'the last day'}"

    @property
    def universe(self) -> Universe:
        return self._market.universe  # type: ignore[no-any-return]

    @property
    def n_rows(self) -> int:
        return self.bars.n_rows

    async def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        for slab in self.bars.cut(n_rows):
            yield slab


def _of_index(
    request: BacktestRequest, settings: Settings, adjustment: Any, symbols: tuple[str, ...],
    start: date | None, end: date | None, benchmark: tuple[Path, str] | None,
) -> Feed:  # fmt: skip
    """Return the prices of an index's members, of --data or of Yahoo."""
    from scripts.index_feed import IndexFeed, from_files, members_between, membership_of

    assert request.universe is not None
    membership = membership_of(request.universe, settings)
    if request.data is not None:
        return from_files(
            membership, symbols, request.sectors,
            lambda names, sectors: _from_files(
                request, settings, adjustment, tuple(names or ()), start, end, benchmark, sectors
            ),
        )  # fmt: skip
    if start is None:
        raise UsageError("--universe without --data downloads from Yahoo: say from when, --start 2020-01-31")
    last = end or datetime.now(_NEW_YORK).date()
    names = tuple(members_between(membership, symbols, start, last))
    sectors = request.sectors or membership.sectors()
    feed = _from_yahoo(request, settings, adjustment, names, start, end, benchmark, sectors)
    return IndexFeed(feed, membership)


def _from_files(
    request: BacktestRequest, settings: Settings, adjustment: Any, symbols: tuple[str, ...],
    start: date | None, end: date | None, benchmark: tuple[Path, str] | None, sectors: Any,
) -> PanelFeed:  # fmt: skip
    from feeds.source import open_source

    assert request.data is not None
    with Progress(None, what="import") as progress:
        return open_source(
            request.data,
            adjustment=adjustment,
            symbols=symbols or None,
            start=start,
            end=end,
            strict=request.strict,
            cache_dir=Path(settings.storage.panel_dir),
            sectors=sectors,
            benchmark=benchmark,
            progress=progress.importing,
        )


def _from_yahoo(
    request: BacktestRequest, settings: Settings, adjustment: Any, symbols: tuple[str, ...],
    start: date | None, end: date | None, benchmark: tuple[Path, str] | None, sectors: Any,
) -> PanelFeed:  # fmt: skip
    from feeds.yahoo import Politeness, yahoo_feed

    sources = settings.data_sources
    if start is None:
        last = end or datetime.now(_NEW_YORK).date()
        start = date(last.year - YAHOO_YEARS, 1, 1)
        note(f"no --start: Yahoo's bars from {start} on")
    ttl_hours = math.inf if sources.cache_ttl_hours is None else sources.cache_ttl_hours
    return yahoo_feed(
        symbols,
        start,
        end,
        cache_dir=Path(settings.storage.price_cache_dir),
        adjustment=adjustment,
        ttl_hours=ttl_hours if sources.cache_enabled else 0.0,
        politeness=Politeness(
            batch=sources.yahoo_batch_size,
            attempts=sources.retries + 1,
            wait_s=sources.backoff_seconds,
            wait_max_s=sources.backoff_seconds_max,
            pause_s=sources.yahoo_pause_seconds,
        ),
        base_url=sources.yahoo_url,
        timeout_s=sources.timeout_seconds,
        strict=request.strict,
        sectors=sectors,
        benchmark=benchmark,
    )


def _midnight_ns(when: date) -> int:
    return int(datetime(when.year, when.month, when.day, tzinfo=_NEW_YORK).timestamp()) * 10**9
