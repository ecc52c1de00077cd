"""Symbols as different vendors spell them: BRK.B, BRK-B, BRK/B and (iShares) BRKB are one share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from engine.errors import DataError

_SEPARATORS = re.compile(r"[./ _]+")


def symbol_key(symbol: str) -> str:
    """Return the spelling under which symbols are compared: upper case, classes after a dash."""
    return _SEPARATORS.sub("-", symbol.strip().upper())


class SymbolIndex:
    """Finds a symbol among `symbols` whichever way its share class is written."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self._exact = {}
        self._key: dict[str, int] = {}
        self._bare: dict[str, int] = {}
        for i, symbol in enumerate(symbols):
            self._exact[symbol] = i
            self._key.setdefault(symbol_key(symbol), i)
            bare = symbol_key(symbol).replace("-", "")
            self._bare[bare] = -1 if bare in self._bare else i  # -1: two symbols, so neither

    def find(self, symbol: str) -> int | None:
        """Return the position of a symbol, None where there is none."""
        found = self._exact.get(symbol)
        if found is None:
            found = self._key.get(symbol_key(symbol))
        if found is None:
            found = self._bare.get(symbol_key(symbol).replace("-", ""))
        return None if found is None or found < 0 else found

    def require(self, wanted: Sequence[str], where: str) -> list[int]:
        """Return the positions of all wanted symbols. Raises DataError naming the first that is missing."""
        positions = []
        for symbol in wanted:
            found = self.find(symbol)
            if found is None:
                raise DataError(f"{where}: no symbol {symbol!r}{self._suggestion(symbol)}")
            positions.append(found)
        return positions

    def _suggestion(self, symbol: str) -> str:
        close = difflib.get_close_matches(symbol_key(symbol), list(self._key), n=3, cutoff=0.5)
        if close:
            return f"; did you mean {' or '.join(close)}?"
        return f" among its {len(self._exact)} symbols"
