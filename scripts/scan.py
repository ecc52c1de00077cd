"""The command `scan`: from candidates over fundamentals and filters to a ranked list of names.

Without --as-of services are asked for whatever is not fresh; Ctrl-C keeps what they said, and the same
command goes on from there. With --as-of nothing is asked: only what was known on that day counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from config import load_settings
from engine.counted import counted
from engine.errors import DataError
from scripts import mail
from scripts.arguments import split_names
from scripts.assembly import UsageError, day
from scripts.console import FAILURE, note
from scripts.entry import INTERRUPTED
from scripts.interrupts import run_interruptible
from scripts.progress import Progress

if TYPE_CHECKING:
    from config.settings import Settings
    from feeds.fundamentals_refresh import Outcome
    from feeds.holdings import Company
    from universe.candidates import PriceFigures
    from universe.screen_record import ScreenRecord

_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class ScanRequest:
    """The options of `scan`, as given."""

    symbols: str | None = None
    seed_candidates: Path | None = None
    include_russell: bool = False
    limit: int | None = None
    data: Path | None = None
    output: Path | None = None
    persist: bool = True
    email: bool = False
    as_of: str | None = None
    json: bool = False


@dataclass
class Candidates:
    """Whom to screen, by symbol, and what is to be said about the lists they come from."""

    companies: dict[str, Company] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run_scan(
    request: ScanRequest, *, settings_path: Path | None = None, defaults_path: Path | None = None,
    force: bool = False,
) -> int:  # fmt: skip
    """Run the command and return its exit code."""
    from feeds.fundamentals_refresh import Outcome
    from scripts import scan_report
    from universe.screen_record import ScreenStore

    settings = load_settings(settings_path, defaults_path, force=force)
    if request.email:
        mail.require_settings(settings.email)
    now = datetime.now(UTC)
    as_of = day(request.as_of, "--as-of")
    today = now.astimezone(_NEW_YORK).date()
    if as_of is not None and as_of > today:
        raise UsageError(f"--as-of {as_of} is in the future")
    found = candidates(request, settings, as_of or today)
    outcome = None if as_of else Outcome()
    if outcome is not None:
        try:
            _ask(found, settings, outcome)
        except KeyboardInterrupt:
            known = len(outcome.fresh) + len(outcome.fetched)
            note(f"interrupted: {known:,} of {len(found.companies):,} are known; the same command goes on")
            return INTERRUPTED
    record = _screened(found, settings, request, outcome, as_of or today, now, is_past=as_of is not None)
    names = scan_report.names_csv(record)
    unanswered = _unanswered(outcome) if outcome else []
    paths = []
    if request.persist and not unanswered:
        paths = ScreenStore(settings.storage.universe_dir).add(record, names)
    if request.output is not None:
        scan_report.write_output(request.output, names)
        paths.append(request.output)
    if request.json:
        scan_report.print_json(record, paths)
    else:
        scan_report.print_report(record, paths)
    if unanswered:
        n = counted(len(unanswered), "symbols")
        if outcome and all(_is_unknown(outcome, symbol) for symbol in unanswered):
            note(f"no service knows {n}, and there is no other candidate, so the screen is not kept")
        else:
            note(f"no answer about {n}, so the screen is not kept; run it again later")
        return FAILURE
    if request.email:
        sent = mail.deliver(settings.email, scan_report.message(settings.email, record, names))
        note(f"mailed to {counted(sent, 'recipients')} through {settings.email.smtp_server}")
    return 0


def _unanswered(outcome: Outcome) -> list[str]:
    """Return the symbols that nobody was asked about; where nobody answered, those that failed too."""
    known = outcome.fresh or outcome.fetched
    return list(outcome.unasked) if known else [*outcome.failed, *outcome.unasked]


def _is_unknown(outcome: Outcome, symbol: str) -> bool:
    from feeds.fundamentals_refresh import ABOUT_THE_SYMBOL

    return getattr(outcome.failed.get(symbol), "failure", None) in ABOUT_THE_SYMBOL


def candidates(request: ScanRequest, settings: Settings, on: date) -> Candidates:
    """Return the candidates that the options name. Raises UsageError where there are none."""
    from feeds.holdings import Company
    from feeds.symbols import symbol_key
    from scripts.refresh_fundamentals import SEED

    found = Candidates()
    seed = Path(settings.storage.universe_dir).expanduser() / SEED
    if request.symbols is not None and request.seed_candidates is not None:
        raise UsageError("--symbols and --seed-candidates are two sources; name one")
    if request.symbols is not None:
        for symbol in split_names([request.symbols.upper()]):
            found.companies[symbol_key(symbol)] = Company(symbol)
    elif request.seed_candidates is not None:
        _add_file(found, request.seed_candidates)
    elif seed.is_file():
        _add_file(found, seed)
    if request.include_russell:
        _add_russell(found, settings, on)
    if not found.companies:
        raise UsageError(
            f"no candidates: give --symbols A,B, --seed-candidates FILE or --include-russell, or put a list"
            f" at {seed}"
        )
    kept = list(found.companies)[: request.limit]
    found.companies = {symbol: found.companies[symbol] for symbol in kept}
    return found


def _add_file(found: Candidates, path: Path) -> None:
    from feeds.holdings import read_holdings
    from feeds.symbols import symbol_key

    held = read_holdings(path)
    for company in held.companies:
        found.companies.setdefault(symbol_key(company.symbol), company)
    if held.left_out:
        shown = ", ".join(f"{row.name or row.symbol} (line {row.line})" for row in held.left_out[:5])
        more = f" and {len(held.left_out) - 5} more" if len(held.left_out) > 5 else ""
        found.notes.append(
            f"{path.name}: {counted(len(held.left_out), 'rows')} left out, no symbol: {shown}{more}"
        )


def _add_russell(found: Candidates, settings: Settings, on: date) -> None:
    """Add the members of the Russell 2000 on a day; without a dated list those of the plain list of old."""
    from feeds.symbols import symbol_key
    from universe.constituents import RUSSELL_2000, ConstituentStore

    store = ConstituentStore(settings.storage.universe_dir)
    plain = Path(settings.storage.universe_dir).expanduser() / "russell_2000.csv"
    if not store.files(RUSSELL_2000).newest() and plain.is_file():
        _add_file(found, plain)
        found.notes.append(f"{plain.name} has no date: it stands in for the members on {on}")
        return
    membership = store.membership(RUSSELL_2000)
    for company in membership.companies(on).values():
        found.companies.setdefault(symbol_key(company.symbol), company)
    if on < membership.known_from:
        found.notes.append(
            f"no list of the Russell 2000 is as old as {on}: that of {membership.lists[0].as_of} stands in,"
            " without the names that had left by then"
        )


def _ask(found: Candidates, settings: Settings, outcome: Outcome) -> None:
    """Ask services about whatever is not fresh; what becomes of it is in `outcome` as it goes."""
    from scripts.refresh_fundamentals import fundamentals_store, open_refresher

    store = fundamentals_store(settings)

    async def work() -> None:
        done = 0

        def count(symbol: str) -> None:
            nonlocal done
            done += 1
            progress.fetching(done)

        async with open_refresher(settings, store) as refresher:
            with Progress(len(refresher.due(found.companies)), what="fundamentals") as progress:
                await refresher.refresh(list(found.companies), outcome, count)

    run_interruptible(work())


def _screened(
    found: Candidates, settings: Settings, request: ScanRequest, outcome: Outcome | None, on: date,
    now: datetime, *, is_past: bool,
) -> ScreenRecord:  # fmt: skip
    from feeds.symbols import SymbolIndex
    from scripts.refresh_fundamentals import fundamentals_store
    from universe.candidates import candidate
    from universe.screen import mistyped, screen
    from universe.screen_record import ScreenRecord

    store = fundamentals_store(settings)
    known_at = _end_of(on) if is_past else time.time_ns()
    notes = list(found.notes)
    prices = _prices(request.data, settings, on, notes) if request.data else {}
    places, figures = SymbolIndex(prices), [*prices.values(), None]  # None: where there is no place
    if is_past and not request.data:
        notes.append("no prices of the time: --data PATH; volumes and spreads are those that services stated")
    skipped: dict[str, str] = {}
    known = []
    for symbol, company in found.companies.items():
        try:
            snapshot = store.as_of(symbol, known_at)
        except DataError as error:
            skipped[symbol] = str(error)
            continue
        place = places.find(symbol)
        made = candidate(symbol, snapshot, company, figures[-1 if place is None else place])
        if not isinstance(made, str):
            known.append(made)
        elif snapshot is None and outcome and symbol in outcome.failed:
            skipped[symbol] = str(outcome.failed[symbol])
        elif snapshot is None:
            skipped[symbol] = f"nothing was known of it on {on}" if is_past else "could not be asked about"
        else:
            skipped[symbol] = made
    if request.data:
        n = sum(places.find(symbol) is not None for symbol in found.companies)
        notes.append(f"prices of {n:,} of {len(found.companies):,} candidates are in {request.data.name}")
    if outcome:
        notes += _stale(found, outcome, skipped)
        notes += [f"stopped asking {error.service}: {error.detail}" for error in outcome.stopped.values()]
    notes += mistyped(known, settings.universe_criteria)
    done = screen(known, settings.universe_criteria)
    return ScreenRecord(
        as_of=on.isoformat(), screened_at=now.isoformat(timespec="seconds"),
        criteria=settings.universe_criteria, passed=done.passed, fallen=done.fallen, skipped=skipped,
        notes=tuple(notes),
    )  # fmt: skip


def _stale(found: Candidates, outcome: Outcome, skipped: dict[str, str]) -> list[str]:
    """Return what is to be said about failures behind which older figures stand."""
    from feeds.provider import ProviderError
    from scripts.scan_report import some

    reasons: dict[str, list[str]] = {}
    for symbol, error in outcome.failed.items():
        if isinstance(error, ProviderError) and symbol in found.companies and symbol not in skipped:
            reasons.setdefault(f"{error.service}: {error.detail}", []).append(symbol)
    return [
        f"no new answer about {some(symbols)} ({why}): what was known before is used"
        for why, symbols in reasons.items()
    ]


def _prices(data: Path, settings: Settings, on: date, notes: list[str]) -> dict[str, PriceFigures]:
    """Return figures of the prices up to a day, as traded where the files tell splits, by symbol."""
    from feeds.sessions import day_number
    from feeds.source import open_source
    from universe.candidates import ROWS_NEEDED, price_figures

    with Progress(None, what="import") as progress:
        options: dict[str, Any] = {
            "cache_dir": Path(settings.storage.panel_dir), "end": on, "progress": progress.importing
        }  # fmt: skip
        try:
            feed = open_source(data, adjustment="raw", **options)
        except DataError as error:
            if "no split information" not in str(error):
                raise
            feed = open_source(data, adjustment="split", **options)
            notes.append(
                f"{data.name} tells no splits: where a share was split after {on}, its market value is off by"
                " the ratio"
            )
    n = min(feed.n_rows, ROWS_NEEDED)
    bars = feed.rows(feed.n_rows - n, feed.n_rows)
    return price_figures(feed.universe.symbols, bars, feed.days[-n:], day_number(on))


def _end_of(on: date) -> int:
    """Return UTC ns of the midnight in New York that ends a day."""
    after = on + timedelta(days=1)
    return int(datetime(after.year, after.month, after.day, tzinfo=_NEW_YORK).timestamp()) * 10**9
