"""Numbers of things, as a sentence for people has them."""

from __future__ import annotations


def counted(n: int, plural: str) -> str:
    """Return "1 fill", "2,000 fills"; plural: the name of many."""
    if n != 1:
        return f"{n:,} {plural}"
    return f"1 {plural[:-3]}y" if plural.endswith("ies") else f"1 {plural.removesuffix('s')}"
