"""What one mail says: the transitions that waited for it, by alert, worst first, symptoms under their causes.

Nothing is left out: what is listed under a cause, and every further transition of an alert, keeps its key in
the mail. So the union of the keys of all mails is what was to be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from monitors.alerts import RULES, SEVERITIES, Transition


class Item(NamedTuple):
    """An alert in a mail: what happened to it, oldest first."""

    transitions: tuple[Transition, ...]

    @property
    def newest(self) -> Transition:
        return self.transitions[-1]


class Digest(NamedTuple):
    items: tuple[Item, ...]  # causes first, then the worst, those that ended last
    listed: tuple[Item, ...]  # held back because of a cause

    @property
    def all_items(self) -> tuple[Item, ...]:
        return self.items + self.listed

    @property
    def notif_keys(self) -> list[str]:
        return [one.notif_key for item in self.all_items for one in item.transitions]

    @property
    def sessions(self) -> tuple[str, ...]:
        """The first and the last session that it is about, or the one, or none."""
        told = sorted({one.session for item in self.all_items for one in item.transitions if one.session})
        return (told[0], told[-1]) if len(told) > 1 else tuple(told)


def digest(transitions: Iterable[Transition]) -> Digest:
    """Group transitions, at least one, given in the order in which they happened."""
    by_alert: dict[str, list[Transition]] = {}
    for one in transitions:
        by_alert.setdefault(one.key, []).append(one)
    items = sorted((Item(tuple(alert)) for alert in by_alert.values()), key=_precedence)
    # A cause that is told in another mail, or is over, leaves its symptoms to speak for themselves
    causes = {item.newest.key for item in items if RULES[item.newest.rule].cause and not item.newest.resolved}
    listed = [item.newest.inhibited_by in causes and not item.newest.resolved for item in items]
    return Digest(
        tuple(item for item, under_a_cause in zip(items, listed, strict=True) if not under_a_cause),
        tuple(item for item, under_a_cause in zip(items, listed, strict=True) if under_a_cause),
    )


def _precedence(item: Item) -> tuple[bool, bool, int, str, str]:
    one = item.newest
    return (
        one.resolved,
        not RULES[one.rule].cause,
        -SEVERITIES.index(one.severity),
        one.rule,
        one.subject,
    )
