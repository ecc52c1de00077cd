"""What a screen tells: headline, preview, funnel and who was skipped; the table of names; the mail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.counted import counted
from engine.errors import SmallcapError
from scripts.tables import console, print_line

if TYPE_CHECKING:
    from config.settings import Email
    from universe.screen import Candidate, Step, Verdict
    from universe.screen_record import ScreenRecord

PREVIEW, SKIPPED_SHOWN = 10, 12
_DAY_NS = 86_400 * 10**9
_MONEY = ("market_cap_min", "market_cap_max", "min_daily_volume", "min_price")
_COLUMNS = (
    "symbol", "name", "sector", "industry", "exchange", "price", "market_cap", "dollar_volume",
    "average_volume", "spread", "spread_source", "float_shares", "unchecked", "known_at",
)  # fmt: skip


def headline(record: ScreenRecord) -> str:
    return f"Screened {record.n_candidates:,} candidates -> {len(record.passed):,} passing filters"


def funnel(record: ScreenRecord) -> tuple[Step, ...]:
    """Return the steps of the screen; those who were skipped never entered it."""
    from universe.screen import screen

    verdicts = (*record.passed, *record.fallen)
    return screen((verdict.candidate for verdict in verdicts), record.criteria).funnel


def names_csv(record: ScreenRecord) -> bytes:
    """Return the names that passed, in order of rank, as CSV."""
    from reports.files import text_cell

    rows = [",".join(_COLUMNS)]
    for verdict in record.passed:
        c = verdict.candidate
        cells = [text_cell(text) for text in (c.symbol, c.name, c.sector, c.industry, c.exchange)]
        cells += [_number(x) for x in (c.price_usd, c.market_cap_usd, c.dollar_volume_usd, c.average_volume)]
        cells += [_number(c.spread), c.spread_source, _number(c.float_shares)]
        cells += [" ".join(verdict.unchecked), _moment(c.known_at)]
        rows.append(",".join(cells))
    return ("\n".join(rows) + "\n").encode()


def write_output(path: Path, content: bytes) -> None:
    from reports.files import write_atomic

    try:
        write_atomic(path, content)
    except OSError as error:
        raise SmallcapError(f"--output {path}: {error.strerror or error}") from None


def print_json(record: ScreenRecord, paths: Sequence[Path]) -> None:
    """Print everything as one JSON object."""
    import json

    import msgspec

    outcome: dict[str, Any] = msgspec.to_builtins(record)
    outcome["candidates"] = record.n_candidates
    outcome["headline"] = headline(record)
    outcome["funnel"] = [step._asdict() for step in funnel(record)]
    outcome["unknown_sectors"] = _unknown_sectors(record)
    outcome["paths"] = [str(path) for path in paths]
    print(json.dumps(outcome))


def print_report(record: ScreenRecord, paths: Sequence[Path]) -> None:
    """Print the outcome for people."""
    print_line(headline(record))
    if record.passed:
        print_line("")
        _print_preview(record.passed)
    print_line("")
    _print_funnel(record)
    print_line("")
    for line in remarks(record):
        print_line(line)
    if paths:
        print_line(f"kept in {', '.join(str(path) for path in paths)}")


def remarks(record: ScreenRecord) -> list[str]:
    """Return what a reader must know besides the figures."""
    told = list(record.notes)
    for name, what in (("max_spread", "spread"), ("min_float", "float")):
        n = sum(name in verdict.unchecked for verdict in record.passed)
        if n:
            told.append(f"{n:,} of those that pass have no known {what}: passed unchecked")
    estimated = sum(verdict.candidate.spread_source == "estimate" for verdict in record.passed)
    if estimated:
        told.append(f"{estimated:,} spreads of those that pass are estimates from highs and lows")
    for sector, symbols in _unknown_sectors(record).items():
        what = f"unknown sector {sector!r}" if sector else "no sector"
        told.append(f"{what}: {some(symbols)}")
    age = _oldest_days(record)
    if age is not None and age >= 1:
        told.append(f"the oldest figures used are {counted(age, 'days')} old on {record.as_of}")
    if record.skipped:
        told.append(f"Skipped {counted(len(record.skipped), 'symbols')} due to data issues:")
    reasons: dict[str, list[str]] = {}
    for symbol, why in record.skipped.items():
        reasons.setdefault(why.replace(f" about {symbol}:", ":", 1), []).append(symbol)
    told += [f"  {why}: {some(symbols)}" for why, symbols in list(reasons.items())[:SKIPPED_SHOWN]]
    if len(reasons) > SKIPPED_SHOWN:
        told.append(f"  and {len(reasons) - SKIPPED_SHOWN:,} other reasons; --json has all")
    return told


def message(email: Email, record: ScreenRecord, names: bytes) -> EmailMessage:
    """Return the mail about a screen: the summary as text, the names as CSV beside it."""
    from reports.mail import new_mail, printable

    lines = [headline(record), f"as of {record.as_of}", ""]
    lines += [
        f"{v.candidate.symbol}  {_sector(v.candidate)}  {_dollars(v.candidate.market_cap_usd)}"
        f"  {_dollars(v.candidate.dollar_volume_usd)} a day"
        for v in record.passed[:PREVIEW]
    ]
    lines += [
        "",
        *(f"{s.filter}: {s.fallen:,} of {s.entered:,} fell" for s in funnel(record) if s.fallen),
        "",
    ]
    mail = new_mail(email, f"{headline(record)}, {record.as_of}")
    mail.set_content("\n".join(printable(line) for line in [*lines, *remarks(record)]) + "\n")
    mail.add_attachment(names, maintype="text", subtype="csv", filename=f"screen-{record.as_of}.csv")
    return mail


def _print_preview(passed: Sequence[Verdict]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("symbol", no_wrap=True)
    table.add_column("sector", no_wrap=True, max_width=22)
    for title in ("market cap", "$ volume", "price", "spread", "float"):
        table.add_column(title, justify="right", no_wrap=True)
    for verdict in passed[:PREVIEW]:
        c = verdict.candidate
        spread = "-" if c.spread is None else f"{c.spread:.1%}"
        table.add_row(
            c.symbol, _sector(c), _dollars(c.market_cap_usd), _dollars(c.dollar_volume_usd),
            "-" if c.price_usd is None else f"{c.price_usd:.2f}", spread, _short(c.float_shares),
        )  # fmt: skip
    console().print(table)
    if len(passed) > PREVIEW:
        print_line(f"... and {len(passed) - PREVIEW:,} more")


def _print_funnel(record: ScreenRecord) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("filter", no_wrap=True)
    for title in ("limit", "fell", "of them unknown", "left"):
        table.add_column(title, justify="right", no_wrap=True)
    left = record.n_candidates - len(record.skipped)
    table.add_row("data", "", f"{len(record.skipped):,}", f"{len(record.skipped):,}", f"{left:,}")
    for step in funnel(record):
        left -= step.fallen
        if step.limit is None:
            continue
        table.add_row(
            step.filter, _limit(step), f"{step.fallen:,}", f"{step.missing:,}" if step.missing else "",
            f"{left:,}",
        )  # fmt: skip
    console().print(table)


def _limit(step: Step) -> str:
    if isinstance(step.limit, tuple):
        joined = ", ".join(step.limit)
        return joined if len(joined) <= 24 else f"{len(step.limit)} names"
    if step.filter in _MONEY:
        return _dollars(step.limit)
    return f"{step.limit:.1%}" if step.filter == "max_spread" else _short(step.limit)


def _unknown_sectors(record: ScreenRecord) -> Mapping[str, list[str]]:
    from universe.sectors import unknown_sectors

    known = [verdict.candidate for verdict in (*record.passed, *record.fallen)]
    return unknown_sectors((c.symbol, c.sector, c.industry) for c in known)


def _oldest_days(record: ScreenRecord) -> int | None:
    used = [v.candidate.known_at for v in (*record.passed, *record.fallen) if v.candidate.known_at]
    if not used:
        return None
    on = datetime.fromisoformat(record.as_of).replace(tzinfo=UTC)
    return int((on.timestamp() * 1e9 + _DAY_NS - min(used)) // _DAY_NS)


def _sector(c: Candidate) -> str:
    from risk.sectors import sector_key

    return sector_key(c.sector, c.industry)


def some(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SKIPPED_SHOWN:,} more" if len(symbols) > SKIPPED_SHOWN else ""
    return ", ".join(symbols[:SKIPPED_SHOWN]) + more


def _dollars(value: float | None) -> str:
    return "-" if value is None else f"${_short(value)}"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{unit}" if value < 999.5 * size else f"{value / size:.0f}{unit}"
    return f"{value:.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _moment(known_at: int | None) -> str:
    if known_at is None:
        return ""
    return datetime.fromtimestamp(known_at // 10**9, UTC).isoformat()
