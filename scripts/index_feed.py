"""Prices of the members of an index: names are loaded that were in it at some time, and may be bought only
while they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DataError
from engine.slab import Bars, Universe

if TYPE_CHECKING:
    from config.settings import Settings
    from feeds.panel import PanelFeed
    from universe.constituents import Membership

_EPOCH = date(1970, 1, 1).toordinal()
Open = Callable[[Sequence[str] | None, Any], "PanelFeed"]  # symbols (None: all) and sectors


class IndexFeed:
    """A feed and the membership of its names; `index` says how far that is known."""

    def __init__(self, feed: PanelFeed, membership: Membership) -> None:
        from universe.index_use import IndexUse

        self._feed = feed
        symbols = feed.universe.symbols
        self.universe: Universe = replace(feed.universe, membership=membership.for_symbols(symbols))
        self.index = IndexUse.of(membership, _days(feed), symbols)
        self.quality = replace(feed.quality, notes=(*self.index.notes(), *feed.quality.notes))
        self.fingerprint, self.whole_fingerprint = feed.fingerprint, feed.whole_fingerprint
        self.source = f"{feed.source}, members of the {membership.index.label}"

    @property
    def n_rows(self) -> int:
        return self._feed.n_rows

    def slabs(self, n_rows: int) -> AsyncIterator[Bars]:
        return self._feed.slabs(n_rows)


def membership_of(name: str, settings: Settings) -> Membership:
    """Return who was in an index when. Raises DataError where no list of it is kept."""
    from universe.constituents import INDICES, ConstituentStore

    return ConstituentStore(Path(settings.storage.universe_dir)).membership(INDICES[name])


def from_files(
    membership: Membership, symbols: Sequence[str], sectors: Path | None, open_symbols: Open
) -> IndexFeed:
    """Return the feed of those names of a price file that were members in its days; `symbols` narrows them
    further. Sectors are the index's own unless a file of them is given."""
    from feeds.symbols import SymbolIndex

    table: Mapping[str, Any] | Path = sectors or membership.sectors()
    whole = open_symbols(None, None)
    names = whole.universe.symbols
    days = _days(whole)
    index = SymbolIndex(names)
    places = (index.find(symbol) for symbol in membership.ever(days[0], days[-1]))
    found = {place for place in places if place is not None}
    if symbols:
        found &= set(index.require(symbols, whole.source))
    if not found:
        raise DataError(
            f"{whole.source}: none of its symbols was in the {membership.index.label}"
            f" from {days[0]} to {days[-1]}"
        )
    return IndexFeed(open_symbols([names[i] for i in sorted(found)], table), membership)


def members_between(membership: Membership, symbols: Sequence[str], first: date, last: date) -> list[str]:
    """Return the names to ask a service for: members at any time from `first` to `last`, as Yahoo spells
    them, narrowed to `symbols` if there are any."""
    from feeds.symbols import symbol_key

    ever = {symbol_key(symbol) for symbol in membership.ever(first, last)}
    chosen = sorted(ever & {symbol_key(symbol) for symbol in symbols} if symbols else ever)
    if not chosen:
        raise DataError(f"none of the symbols was in the {membership.index.label} from {first} to {last}")
    return chosen


def _days(feed: PanelFeed) -> list[date]:
    return [date.fromordinal(day + _EPOCH) for day in feed.days.tolist()]
