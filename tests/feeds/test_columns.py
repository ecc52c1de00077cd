"""Column names of the vendors."""

import pytest

from engine.errors import DataError
from feeds.columns import Basis, find_layout

YAHOO = ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits"]
STOOQ = [f"<{name}>" for name in ("TICKER", "PER", "DATE", "TIME", "OPEN", "HIGH", "LOW", "CLOSE", "VOL")]
PLAIN = ["symbol", "date", "open", "high", "low", "close", "volume"]
ALPHA = ["timestamp", *PLAIN[2:6], "adjusted_close", "volume", "dividend_amount", "split_coefficient"]


@pytest.mark.parametrize(
    ("names", "needs_symbol", "basis"),
    [
        (YAHOO, False, Basis.SPLIT),
        ([n for n in YAHOO if n != "Adj Close"], False, Basis.TOTAL_RETURN),
        (STOOQ, True, Basis.PLAIN),
        (ALPHA, False, Basis.RAW),
        (PLAIN, True, Basis.PLAIN),
        ([*PLAIN, "ADJ_CLOSE"], True, Basis.SPLIT),
        ([*PLAIN, "split"], True, Basis.RAW),
        ([*PLAIN, "dividend"], True, Basis.SPLIT),
    ],
)
def test_vendors_are_told_by_their_columns(names: list[str], needs_symbol: bool, basis: Basis) -> None:
    assert find_layout(names, "f.csv", needs_symbol=needs_symbol).basis is basis


def test_the_time_column_of_stooq_is_not_its_date() -> None:
    layout = find_layout(STOOQ, "f.csv", needs_symbol=True)
    assert (layout.columns["date"], layout.columns["time"]) == ("<DATE>", "<TIME>")


def test_missing_columns_are_named_with_what_is_there() -> None:
    with pytest.raises(DataError, match=r"^f\.csv: no column for high, volume \(columns: symbol, date, open"):
        find_layout(["symbol", "date", "open", "low", "close"], "f.csv", needs_symbol=True)


@pytest.mark.parametrize("again", ["close", "Close", "<CLOSE>"])
def test_a_column_that_is_there_twice_is_refused(again: str) -> None:
    with pytest.raises(
        DataError, match=rf"^f\.csv: 2 columns for close \(close, {again}\); remove all but one"
    ):
        find_layout([*PLAIN, again], "f.csv", needs_symbol=True)


def test_a_missing_symbol_column_says_how_to_do_without() -> None:
    with pytest.raises(DataError, match=r"folder, named SYMBOL\.csv"):
        find_layout(PLAIN[1:], "f.csv", needs_symbol=True)


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_wrong_delimiter_is_named(separator: str, called: str) -> None:
    with pytest.raises(DataError, match=f"separated by {called}, expected commas"):
        find_layout([separator.join(PLAIN)], "f.csv", needs_symbol=True)
