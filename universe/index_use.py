"""What a backtest made of an index's membership, and how far that reaches: for the console, run.json and the
tear sheet."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from feeds.symbols import SymbolIndex
from universe.constituents import Membership

STALE_DAYS = 120  # between the newest list and the last session; indices are redrawn once or twice a year


@dataclass(frozen=True)
class IndexUse:
    """sessions_before: those older than every list, for which the first list stands in.

    members: names that were in the index on some day of the run; priced: those of them with prices.
    first_members: names known as members on the first session.
    """

    index: str
    label: str
    lists: int
    first_list: str
    last_list: str
    sessions: int
    sessions_before: int
    first_session: str
    last_session: str
    members: int
    priced: int
    first_members: int
    members_now: int

    @classmethod
    def of(cls, membership: Membership, days: Sequence[dt.date], symbols: Sequence[str]) -> IndexUse:
        """Return what a run over `days` and `symbols` made of a membership."""
        first, last = days[0], days[-1]
        ever = membership.ever(first, last)
        known = SymbolIndex(symbols)
        return cls(
            membership.index.key, membership.index.label, len(membership.lists),
            membership.lists[0].as_of.isoformat(), membership.lists[-1].as_of.isoformat(), len(days),
            sum(day < membership.known_from for day in days), first.isoformat(), last.isoformat(), len(ever),
            sum(known.find(symbol) is not None for symbol in ever), len(membership.on(first)),
            len(membership.lists[-1].companies),
        )  # fmt: skip

    def described(self) -> dict[str, Any]:
        """Return what `run.json` keeps."""
        return {**asdict(self), "notes": list(self.notes())}

    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know, in sentences, the limits of the data first."""
        said = []
        if self.sessions_before:
            which = "every session" if self.sessions_before == self.sessions else "earlier sessions"
            said.append(
                f"{self.label}: the first list kept is of {self.first_list}; it stands in for"
                f" {which} ({self.sessions_before:,} of {self.sessions:,}), so names that had left by then"
                " are missing and the result is flattered by survivorship"
            )
            if self.first_members < self.members_now:
                said.append(
                    f"{self.label}: dates of entry leave {self.first_members:,} of today's"
                    f" {self.members_now:,} names as members on {self.first_session}"
                )
        age = (dt.date.fromisoformat(self.last_session) - dt.date.fromisoformat(self.last_list)).days
        if age > STALE_DAYS:
            said.append(
                f"{self.label}: the newest list is of {self.last_list}, {age} days before the last session;"
                " who joined or left since is not known"
            )
        said.append(
            f"{self.label}: {self.priced:,} of its {self.members:,} members between {self.first_session} and"
            f" {self.last_session} have prices in the data"
            + ("" if self.priced == self.members else "; the others could not be traded")
        )
        return tuple(said)
