"""Sectors from tables and holdings."""

from pathlib import Path

import pytest

from engine.errors import DataError
from feeds.sectors import NOTHING, SectorInfo, read_sectors, sectors_of
from tests.feeds.price_files import market_data, write

HOLDINGS = [
    "\ufeffiShares Russell 2000 ETF", 'Fund Holdings as of,"May 13, 2025"', "\xa0",
    "Ticker,Name,Sector,Asset Class,Price,Exchange",
    '"SFM","SPROUTS","Consumer Staples","Equity","158.47","NASDAQ"',
    '"MOGA","MOOG INC CLASS A","Industrials","Equity","180.00","NYSE"',
    '"XTSLA","BLK CSH FND","Cash and/or Derivatives","Money Market","1.00","-"',
    '"-","ESCROW","Health Care","Equity","0.00","-"', "\xa0", '"The content contained herein is owned',
    'by BlackRock"',
]  # fmt: skip


def test_a_holdings_export_gives_its_shares_only(tmp_path: Path) -> None:
    table = read_sectors(write(tmp_path / "h.csv", HOLDINGS))
    assert table == {
        "SFM": SectorInfo("Consumer Staples", "", "NASDAQ"), "MOG.A": SectorInfo("Industrials", "", "NYSE")
    }  # fmt: skip


def test_a_plain_table_may_come_in_any_order_of_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.csv", ["name,industry,Sector,SYMBOL", "Krystal,Biotech,Health Care,krys", "x,,,y"]
    )
    assert read_sectors(path) == {"KRYS": SectorInfo("Health Care", "Biotech", ""), "Y": NOTHING}


def test_share_classes_match_in_every_spelling() -> None:
    table = {"MOGA": SectorInfo("Industrials"), "BRK.B": SectorInfo("Financials")}
    found = sectors_of(["MOG-A", "BRK-B", "BRK/B", "NONE"], table)
    assert [info.sector for info in found] == ["Industrials", "Financials", "Financials", ""]


def test_two_shares_that_only_differ_in_the_separator_do_not_match_a_third_spelling() -> None:
    table = {"AB-C": SectorInfo("One"), "A-BC": SectorInfo("Two")}
    assert [info.sector for info in sectors_of(["ABC", "A.BC"], table)] == ["", "Two"]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["symbol", "BE"], "no column sector beside symbol"),
        (["symbol,sector"], "no row with a symbol"),
    ],
)
def test_a_file_without_sectors_is_refused(tmp_path: Path, lines: list[str], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read_sectors(write(tmp_path / "s.csv", lines))
    with pytest.raises(DataError, match="cannot be read"):
        read_sectors(tmp_path / "none.csv")


@pytest.mark.market
@pytest.mark.parametrize(
    ("name", "n_symbols"),
    [
        ("IWM_holdings_2025-05-13.csv", 1926), ("IWM_holdings_2026-05-05.csv", 1911),
        ("sp500_constituents.csv", 503), ("../legacy/sp500.csv", 27), ("../legacy/seed_candidates.csv", 45),
    ],
)  # fmt: skip
def test_the_files_that_people_have_load(name: str, n_symbols: int) -> None:
    table = read_sectors(market_data() / name)
    assert len(table) == n_symbols
    assert all(info.sector for info in table.values())
