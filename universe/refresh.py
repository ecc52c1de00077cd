"""Taking a new list of an index: whole and plausible, or refused, and then the last good one stays.

A list is refused that was cut short, is of another fund, or whose number of companies is implausible for the
index or a tenth below the last list's.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError
from feeds.holdings import Holdings, LeftOut, parse_holdings
from universe.constituents import ConstituentStore, DatedList, Index, entry_unread

SHRINK_MAX = 0.10


@dataclass(frozen=True)
class Refreshed:
    """What became of a list. joined, left: against the list before it in time, empty without one."""

    path: Path
    is_new: bool
    as_of: dt.date
    is_dated: bool  # the list says its date itself
    n_companies: int
    left_out: tuple[LeftOut, ...]
    before: dt.date | None
    joined: tuple[str, ...]
    left: tuple[str, ...]
    entries_unread: tuple[str, ...] = ()  # symbols whose date of entry is no ISO date


def refresh(
    store: ConstituentStore, index: Index, content: bytes, file: str, *, undated: dt.date, today: dt.date
) -> Refreshed:
    """Keep a list of an index's companies. undated: its date if it says none itself.

    Raises DataError for a list that is refused; what was kept before stays as it is.
    """
    held = parse_holdings(content, file)
    as_of = held.as_of or undated
    if as_of > today:
        raise DataError(f"{file}: refused, it is of {as_of}, which is after today, {today}")
    lists = store.lists(index)
    earlier = [one for one in lists if one.as_of < as_of]
    last = earlier[-1] if earlier else lists[0] if lists else None
    problem = _problem(index, held, last)
    if problem:
        raise DataError(f"{file}: refused as a list of the {index.label}: {problem}")
    path, is_new = store.files(index).add(as_of, content)
    now = {company.symbol for company in held.companies}
    then = {company.symbol for company in earlier[-1].companies} if earlier else now
    return Refreshed(
        path, is_new, as_of, held.as_of is not None, len(now), held.left_out,
        earlier[-1].as_of if earlier else None, tuple(sorted(now - then)), tuple(sorted(then - now)),
        tuple(company.symbol for company in held.companies if entry_unread(company)),
    )  # fmt: skip


def _problem(index: Index, held: Holdings, last: DatedList | None) -> str:
    """Return why a list cannot be one of the index, "" if it can."""
    n = len(held.companies)
    fewest, most = index.companies
    if held.cut_short:
        return f"cut short, {held.cut_short}"
    if held.title and index.title not in held.title:
        return f"it is of {held.title!r}"
    if not fewest <= n <= most:
        return f"{n:,} companies, expected {fewest:,} to {most:,}"
    if last is not None and n < (1 - SHRINK_MAX) * len(last.companies):
        return f"{n:,} companies, the list of {last.as_of} has {len(last.companies):,}"
    return ""
