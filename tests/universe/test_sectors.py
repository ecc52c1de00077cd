"""One name per sector and per exchange, on the files that people have."""

from __future__ import annotations

import pytest

from config.sectors import KNOWN_SECTORS
from feeds.exchanges import AMEX, NASDAQ, NYSE, exchange_key
from feeds.holdings import read_holdings
from risk.sectors import sector_key
from tests.feeds.price_files import market_data
from universe.sectors import unknown_sectors

YAHOO = (
    "Basic Materials", "Communication Services", "Consumer Cyclical", "Consumer Defensive", "Energy",
    "Financial Services", "Healthcare", "Industrials", "Real Estate", "Technology", "Utilities",
)  # fmt: skip
GICS = (
    "Materials", "Communication Services", "Consumer Discretionary", "Consumer Staples", "Energy",
    "Financials", "Health Care", "Industrials", "Real Estate", "Information Technology", "Utilities",
)  # fmt: skip


def test_yahoo_and_gics_mean_the_same_eleven_sectors() -> None:
    keys = [sector_key(name, "") for name in YAHOO]
    assert keys == [sector_key(name, "") for name in GICS]
    assert set(keys) == set(KNOWN_SECTORS) - {"biotech", "other"}


def test_unknown_sectors_are_reported_with_their_symbols() -> None:
    listed = [("A", "Energy", ""), ("B", "Shipping", ""), ("C", "", ""), ("D", "Shipping ", "Tankers")]
    assert unknown_sectors(listed) == {"": ["C"], "Shipping": ["B", "D"]}
    assert unknown_sectors([("A", "Anything", "Biotechnology")]) == {}


@pytest.mark.market
@pytest.mark.parametrize(
    "name",
    [
        "IWM_holdings_2025-05-13.csv", "IWM_holdings_2026-05-05.csv", "sp500_constituents.csv",
        "../legacy/sp500.csv", "../legacy/seed_candidates.csv",
    ],
)  # fmt: skip
def test_every_sector_and_exchange_of_the_real_files_has_a_name(name: str) -> None:
    companies = read_holdings(market_data() / name).companies
    unknown = unknown_sectors((c.symbol, c.sector, c.industry) for c in companies)
    assert unknown == ({"Other": ["CMDB"]} if "2025" in name else {})  # iShares itself did not know better
    assert {exchange_key(c.exchange) for c in companies} <= {NYSE, NASDAQ, AMEX, ""}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("NMS", NASDAQ), ("NGM", NASDAQ), ("NCM", NASDAQ), ("NasdaqGS", NASDAQ), ("NASDAQ", NASDAQ),
        ("NYQ", NYSE), ("NYSE", NYSE), ("New York Stock Exchange Inc.", NYSE), ("ASE", AMEX),
        ("NYSE American", AMEX), ("Nyse Mkt Llc", AMEX), ("AMEX", AMEX), ("pnk", "PNK"), ("", ""), (" ", ""),
    ],
)  # fmt: skip
def test_vendors_codes_become_three_names_and_others_stay(code: str, name: str) -> None:
    assert exchange_key(code) == name
    assert exchange_key(exchange_key(code)) == name
