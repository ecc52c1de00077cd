"""Symbols in the spellings of different vendors."""

import pytest

from engine.errors import DataError
from feeds.symbols import SymbolIndex, symbol_key


@pytest.mark.parametrize("symbol", ["BRK.B", "brk-b", "BRK/B", " BRK B "])
def test_one_share_class_has_one_key(symbol: str) -> None:
    assert symbol_key(symbol) == "BRK-B"


def test_an_exact_spelling_wins_over_a_similar_one() -> None:
    index = SymbolIndex(["BRK-B", "BRK.B", "BRKB"])
    assert [index.find(s) for s in ("BRK-B", "BRK.B", "BRKB", "brk/b", "X")] == [0, 1, 2, 0, None]


def test_positions_come_in_the_order_asked_for() -> None:
    assert SymbolIndex(["A", "B", "C"]).require(["C", "A"], "f") == [2, 0]


def test_a_stranger_is_refused_with_what_comes_close_or_how_many_there_are() -> None:
    with pytest.raises(DataError, match=r"^f: no symbol 'KRYZ'; did you mean KRYS\?$"):
        SymbolIndex(["KRYS", "AAOI"]).require(["KRYZ"], "f")
    with pytest.raises(DataError, match="no symbol 'ZZZ' among its 2 symbols"):
        SymbolIndex(["KRYS", "AAOI"]).require(["ZZZ"], "f")
