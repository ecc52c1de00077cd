"""Silences: what a person wants to hear nothing of for a while. What they cover is recorded all the same."""

from __future__ import annotations

from msgspec import Struct


class Silence(Struct, frozen=True):
    """Nothing about this rule and subject ("*": any; in any case) is mailed until then."""

    rule: str
    subject: str
    until_ns: int
    reason: str

    def covers(self, rule: str, subject: str) -> bool:
        return self.rule in ("*", rule) and (self.subject == "*" or self.is_of(self.rule, subject))

    def is_of(self, rule: str, subject: str) -> bool:
        """Whether it was given for exactly this rule and subject."""
        return self.rule == rule and self.subject.lower() == subject.lower()


class Silences:
    """Those in force, in the order in which they were given."""

    def __init__(self) -> None:
        self.held: list[Silence] = []

    def add(self, silence: Silence) -> None:
        """Begin a silence; it replaces one of the same rule and subject."""
        self.end(silence.rule, silence.subject)
        self.held.append(silence)

    def end(self, rule: str, subject: str) -> None:
        """End the silence of exactly this rule and subject."""
        self.held = [one for one in self.held if not one.is_of(rule, subject)]

    def expire(self, now_ns: int) -> None:
        """Drop those whose time is over."""
        self.held = [one for one in self.held if one.until_ns > now_ns]

    def cover(self, rule: str, subject: str) -> bool:
        """Whether any of them covers it."""
        return any(one.covers(rule, subject) for one in self.held)
