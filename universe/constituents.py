"""Who was in an index when: dated lists on disk, and membership as of a day.

    <universe_dir>/constituents/<index>/2025-05-13.csv      each list as it was downloaded

Invariants (the property tests use the same numbers):
1. A list counts from the day after its date: it is drawn up at the close and published later.
2. On a day, the newest list that counts decides. A name that the next list holds with the date of its entry
   joins on that date, and no name is a member before its date of entry.
3. Before the first list there is nothing to know but that list: it stands in (`Membership.known_from`), less
   the names that it says entered later. Those that had left by then are missing.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine import slab
from engine.errors import DataError
from engine.slab import NS_PER_DAY
from feeds.holdings import Company, parse_holdings
from feeds.sectors import SectorInfo
from feeds.sessions import day_number, wall_to_utc
from feeds.symbols import SymbolIndex
from universe.dated_files import DatedFiles

_DAY = dt.timedelta(days=1)


class Index(NamedTuple):
    """An index whose members are kept. title: of the fund's export; companies: a plausible number of them;
    fund: the ETF that it is measured by."""

    key: str
    label: str
    title: str
    companies: tuple[int, int]
    fund: str
    refresh: str  # the command that fetches its list


RUSSELL_2000 = Index("russell-2000", "Russell 2000", "Russell 2000", (1_700, 2_200), "IWM", "refresh-russell")
SP500 = Index("sp500", "S&P 500", "S&P 500", (480, 520), "SPY", "refresh-sp500")
INDICES = {index.key: index for index in (RUSSELL_2000, SP500)}


class DatedList(NamedTuple):
    """The companies of an index at the close of a day."""

    as_of: dt.date
    companies: tuple[Company, ...]


class ConstituentStore:
    """The dated lists below `universe_dir`."""

    def __init__(self, universe_dir: str | Path) -> None:
        self._folder = Path(universe_dir).expanduser() / "constituents"

    def files(self, index: Index) -> DatedFiles:
        return DatedFiles(self._folder / index.key, ".csv")

    def lists(self, index: Index) -> tuple[DatedList, ...]:
        """Return the lists of an index, oldest first. Raises DataError for a file that cannot be read."""
        return tuple(_read(day, path) for day, path in self.files(index).newest().items())

    def newest(self, index: Index) -> DatedList | None:
        """Return the newest list of an index, None where there is none."""
        days = self.files(index).newest()
        return _read(*list(days.items())[-1]) if days else None

    def membership(self, index: Index) -> Membership:
        """Return who was a member when. Raises DataError where no list is kept."""
        lists = self.lists(index)
        if not lists:
            raise DataError(
                f"{self._folder / index.key}: no list of the {index.label}; fetch one with {index.refresh}"
            )
        return Membership.from_lists(index, lists)


@dataclass(frozen=True)
class Membership:
    """Members of an index by day.

    changes: the days on which membership changes, ascending; members[i] holds from changes[i] on.
    known_from: the first day of which a list tells; before it the first list stands in.
    """

    index: Index
    lists: tuple[DatedList, ...]
    changes: tuple[dt.date, ...]
    members: tuple[frozenset[str], ...]

    @property
    def known_from(self) -> dt.date:
        return self.lists[0].as_of + _DAY

    @classmethod
    def from_lists(cls, index: Index, lists: Sequence[DatedList]) -> Membership:
        """Return the membership that dated lists tell of (invariants 1 to 3)."""
        lists = tuple(sorted(lists, key=lambda one: one.as_of))
        entries = [{c.symbol: _entry(c) for c in one.companies} for one in lists]
        days = {one.as_of + _DAY for one in lists}
        days |= {entry for by_symbol in entries for entry in by_symbol.values() if entry is not None}
        counts_from = [one.as_of + _DAY for one in lists]
        changes = [dt.date.min, *sorted(days)]
        members: list[frozenset[str]] = []
        for day in changes:
            k = bisect_right(counts_from, day) - 1  # the newest list that counts, -1: none yet
            listed = {s: e for s, e in entries[max(k, 0)].items() if e is None or e <= day}
            if 0 <= k < len(lists) - 1:
                listed |= {s: e for s, e in entries[k + 1].items() if e is not None and e <= day}
            members.append(frozenset(listed))
        kept = [i for i in range(len(changes)) if i == 0 or members[i] != members[i - 1]]
        return cls(index, lists, tuple(changes[i] for i in kept), tuple(members[i] for i in kept))

    def on(self, day: dt.date) -> frozenset[str]:
        """Return the members as known on a day."""
        return self.members[bisect_right(self.changes, day) - 1]

    def ever(self, first: dt.date, last: dt.date) -> list[str]:
        """Return who was a member on any day from `first` to `last`, in order."""
        start, stop = bisect_right(self.changes, first) - 1, bisect_right(self.changes, last)
        return sorted(frozenset().union(*self.members[start:stop]))

    def companies(self, day: dt.date) -> dict[str, Company]:
        """Return the members as known on a day, with what their newest list before it says of each."""
        wanted = self.on(day)
        known: dict[str, Company] = {}
        counting = [one for one in self.lists if one.as_of < day]
        for one in (*self.lists[len(counting) :][:1], *counting):
            known |= {c.symbol: c for c in one.companies}
        return {symbol: known[symbol] for symbol in sorted(wanted)}

    def sectors(self) -> dict[str, SectorInfo]:
        """Return the newest that is known of every symbol, for `feeds.open_source`."""
        table: dict[str, SectorInfo] = {}
        for one in self.lists:
            table |= {c.symbol: SectorInfo(c.sector, c.industry, c.exchange) for c in one.companies}
        return table

    def for_symbols(self, symbols: Sequence[str]) -> slab.Membership:
        """Return the membership of these symbols as the desk takes it; a day begins at midnight New York."""
        index = SymbolIndex(symbols)
        column = {symbol: index.find(symbol) for symbol in frozenset().union(*self.members)}
        is_member = np.zeros((len(self.changes), len(symbols)), np.uint8)
        for row, names in zip(is_member, self.members, strict=True):
            row[[i for name in names if (i := column[name]) is not None]] = 1
        days = [day_number(day) for day in self.changes[1:]]
        midnights = wall_to_utc(np.array(days, np.int64) * NS_PER_DAY)
        return slab.Membership(np.concatenate((np.array([np.iinfo(np.int64).min]), midnights)), is_member)


def _read(day: dt.date, path: Path) -> DatedList:
    return DatedList(day, parse_holdings(path.read_bytes(), path.name).companies)


def entry_unread(company: Company) -> bool:
    """Return whether a list tells a date of entry that is no date: the name then counts as always listed."""
    return bool(company.added) and _entry(company) is None


def _entry(company: Company) -> dt.date | None:
    """Return the day on which a company entered the index, None where the list does not tell."""
    try:
        return dt.date.fromisoformat(company.added) if company.added else None
    except ValueError:
        return None
