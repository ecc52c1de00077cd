"""Lists of companies: holdings exports, constituents, candidates."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.holdings import Company, LeftOut, parse_holdings, read_holdings
from tests.feeds.price_files import market_data

EXPORT = (
    "\ufeffiShares Russell 2000 ETF\n"
    'Fund Holdings as of,"May 13, 2025"\n'
    'Stock,"-"\n'
    "\xa0\n"
    "Ticker,Name,Sector,Asset Class,Weight (%),Price,Exchange\n"
    '"SFM","SPROUTS, INC","Consumer Staples","Equity","0.64","158.47","NASDAQ"\n'
    '"MOGA","MOOG INC CLASS A","Industrials","Equity","0.2","180.00","New York Stock Exchange Inc."\n'
    '"ALTA","ALTA EQUIPMENT CLASS A","Industrials","Equity","0.2","5.00","NYSE"\n'
    '"XTSLA","BLK CSH FND","Cash and/or Derivatives","Money Market","0.1","1.00","-"\n'
    '"-","OMNIAB VESTING Prvt","Health Care","Equity","0.0","0.00","NO MARKET (E.G. UNLISTED)"\n'
    '"ADRO","CHINOOK INC","Health Care","Equity","0.0","0.85","NO MARKET (E.G. UNLISTED)"\n'
    '"GTXI","GTXI INC - CVR","Health Care","Equity","0.0","1.02","NASDAQ"\n'
    '"CVI","CVR ENERGY INC","Energy","Equity","0.1","22.99","NYSE"\n'
    '"SBT","STERLING BANCORP","Financials","Equity","0.0","0.00","NASDAQ"\n'
    '"SFM","SPROUTS AGAIN","Consumer Staples","Equity","0.0","1.00","NASDAQ"\n'
    "\xa0\n"
    '"The content contained herein is owned\nby ""BlackRock"" and so on'  # the closing quote is missing
)


def parsed(text: str) -> list[str]:
    return [company.symbol for company in parse_holdings(text.encode(), "list.csv").companies]


def test_an_export_gives_its_listed_shares_and_a_reason_for_every_other_row() -> None:
    held = parse_holdings(EXPORT.encode(), "iwm.csv")
    assert (held.title, held.as_of, held.cut_short) == (
        "iShares Russell 2000 ETF",
        dt.date(2025, 5, 13),
        "",
    )
    assert held.companies[0] == Company("SFM", "SPROUTS, INC", "Consumer Staples", "", "NASDAQ", "")
    assert [c.symbol for c in held.companies] == ["SFM", "MOG.A", "ALTA", "CVI"]
    assert held.left_out == (
        LeftOut(9, "XTSLA", "BLK CSH FND", "no share: money market"),
        LeftOut(10, "-", "OMNIAB VESTING Prvt", "no symbol: '-'"),
        LeftOut(11, "ADRO", "CHINOOK INC", "not listed: NO MARKET (E.G. UNLISTED)"),
        LeftOut(12, "GTXI", "GTXI INC - CVR", "a right, no share"),
        LeftOut(14, "SBT", "STERLING BANCORP", "no price"),
        LeftOut(15, "SFM", "SPROUTS AGAIN", "the symbol came before"),
    )


@given(st.integers(min_value=0, max_value=len(EXPORT.encode())))
def test_an_export_that_was_cut_off_is_whole_refused_or_known_to_be_cut(length: int) -> None:
    table_ends = EXPORT.encode().rindex("\xa0\n".encode())
    try:
        held = parse_holdings(EXPORT.encode()[:length], "iwm.csv")
    except DataError:
        return
    if length <= table_ends and held.as_of is not None:
        assert held.cut_short
    if not held.cut_short:
        assert len(held.companies) + len(held.left_out) == 10


@pytest.mark.parametrize("before", ["\n", "\r\n\r\n", " \n", ",,\n"])
def test_blank_lines_above_an_export_change_nothing(before: str) -> None:
    moved = parse_holdings((before + EXPORT.removeprefix("\ufeff")).encode(), "iwm.csv")
    held = parse_holdings(EXPORT.encode(), "iwm.csv")
    assert (moved.title, moved.as_of, moved.companies) == (held.title, held.as_of, held.companies)


@pytest.mark.parametrize("column", ["Asset Class", "Price", "Exchange"])
def test_an_export_that_no_longer_tells_cash_from_shares_is_refused(column: str) -> None:
    renamed = EXPORT.replace(f"{column},", "Kind,", 1).replace(f",{column}\n", ",Kind\n", 1)
    with pytest.raises(
        DataError, match=f"iwm.csv: an export without the column {column}; has it been renamed"
    ):
        parse_holdings(renamed.encode(), "iwm.csv")


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_name_may_hold_what_only_looks_like_the_end_of_a_line(odd: str) -> None:
    held = parse_holdings(f"symbol,name,sector\nAAA,Triple{odd}A,Energy\nBBB,b,Energy\n".encode(), "list.csv")
    assert [c.symbol for c in held.companies] == ["AAA", "BBB"]
    assert held.left_out == ()


def test_rows_with_an_undefined_symbol_are_reported() -> None:
    held = parse_holdings(b"symbol,name,sector\nundefined,Alight Inc.,Technology\nLAC,Lithium,\n", "seed.csv")
    assert held.companies == (Company("LAC", "Lithium"),)
    assert held.left_out == (LeftOut(2, "undefined", "Alight Inc.", "no symbol: 'undefined'"),)


@pytest.mark.parametrize("symbol", ["<script>", "../X", "=1+1", "A" * 12, "A B C", "1ABC"])
def test_what_is_no_symbol_is_left_out(symbol: str) -> None:
    assert parsed(f'symbol,name\n"{symbol}",x\nLAC,y\n') == ["LAC"]


def test_a_short_last_line_is_a_cut_and_a_short_line_between_is_a_bad_row() -> None:
    cut = parse_holdings(b"symbol,sector\nA,x\nB", "list.csv")
    assert cut.cut_short == "line 3 has 1 cells, expected 2"
    between = parse_holdings(b"symbol,sector\nA,x\nB\nC,y\n", "list.csv")
    assert between.cut_short == ""
    assert [row.why for row in between.left_out] == ["the line is cut short"]


def test_a_last_line_that_lacks_cells_nobody_reads_is_kept_and_known_to_be_cut() -> None:
    held = parse_holdings(b"symbol,sector,founded\nA,x,1900\nB,y", "list.csv")
    assert ([c.symbol for c in held.companies], held.left_out) == (["A", "B"], ())
    assert held.cut_short == "line 3 has 2 cells, expected 3"
    assert parse_holdings(b"symbol,sector,founded\nB,y\nA,x,1900\n", "list.csv").cut_short == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<!DOCTYPE html><html>", "a web page, expected CSV"),
        (b"\n\n  <html>", "a web page, expected CSV"),
        (b"a,b\n1,2\n", "no header with a column symbol"),
        (b"", "no header with a column symbol"),
        (b"symbol\n", "no row with a symbol"),
        (b'symbol,name\nA,"open', "list.csv:2: not CSV"),
        (b"\xff\xfe\x00", "not CSV in UTF-8"),
        (b'x\nFund Holdings as of,"-"\nTicker\nA\n', "expected a date such as"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(content: bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        parse_holdings(content, "list.csv")


@pytest.mark.market
@pytest.mark.parametrize(
    ("name", "n_companies", "n_left_out"),
    [
        # 1,944 and 1,929 rows, of which 5 each are cash and futures; the others counted by hand
        ("IWM_holdings_2025-05-13.csv", 1926, 18), ("IWM_holdings_2026-05-05.csv", 1911, 18),
        ("sp500_constituents.csv", 503, 0), ("../legacy/russell_2000.csv", 1948, 0),
        ("../legacy/sp500.csv", 27, 0), ("../legacy/seed_candidates.csv", 45, 5),
    ],
)  # fmt: skip
def test_the_files_that_people_have_load(name: str, n_companies: int, n_left_out: int) -> None:
    held = read_holdings(market_data() / name)
    assert (len(held.companies), len(held.left_out)) == (n_companies, n_left_out)
    assert held.cut_short == ""


@pytest.mark.market
def test_the_export_of_2025_says_what_a_reader_counts_in_it() -> None:
    held = read_holdings(market_data() / "IWM_holdings_2025-05-13.csv")
    assert held.as_of == dt.date(2025, 5, 13)
    assert Counter(c.exchange for c in held.companies) == {
        "NASDAQ": 1173, "New York Stock Exchange Inc.": 721, "Nyse Mkt Llc": 32
    }  # fmt: skip
    assert {"MOG.A", "CRD.A", "GEF.B", "RUSHA", "CENTA"} <= {c.symbol for c in held.companies}
    assert Counter(row.why.partition(":")[0] for row in held.left_out) == {
        "no share": 5, "no symbol": 5, "not listed": 5, "no price": 2, "a right, no share": 1
    }  # fmt: skip


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_holdings(tmp_path / "none.csv")
