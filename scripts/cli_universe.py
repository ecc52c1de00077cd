"""Commands about the universe of names: what they are, what they are worth, which are in it."""

from __future__ import annotations
