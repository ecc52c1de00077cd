"""Weights of a benchmark as files state them."""

from datetime import date
from pathlib import Path

import pytest

from engine.errors import DataError
from feeds.weights import Holding, read_weights

ISHARES = """\ufeffiShares Some ETF
Fund Holdings as of,"May 13, 2025"
Inception Date,"May 22, 2000"
\xa0
Ticker,Name,Sector,Asset Class,Market Value,Weight (%),Notional Value
"AAA","ALPHA INC","Health Care","Equity","3,000.00","1,5.00","3"
"BBB","BETA INC","Energy","Equity","1,000.00","5.00","1"
"USD","USD CASH","Cash and/or Derivatives","Cash","1,000.00","0.70","1"
"RTYM5","FUTURE","Cash and/or Derivatives","Futures","0.00","0.00","0"

"The content contained herein is owned or licensed by somebody."
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "weights.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_holdings_export_is_one_dated_set_of_companies_without_cash(tmp_path: Path) -> None:
    found = read_weights(written(tmp_path, ISHARES))
    assert found.by_name
    assert found.holdings == {
        date(2025, 5, 13): [Holding("AAA", "Health Care", 0.75), Holding("BBB", "Energy", 0.25)]
    }


def test_a_table_of_sectors_needs_no_date_and_takes_per_cent_or_shares(tmp_path: Path) -> None:
    shares = read_weights(written(tmp_path, "sector,weight\nEnergy,0.2\nUtilities,0.3\n"))
    percent = read_weights(written(tmp_path, "Sector,Weight (%)\nEnergy,40\nUtilities,60%\n"))
    assert shares.holdings[None] == [Holding("", "Energy", 0.4), Holding("", "Utilities", 0.6)]
    assert [each.weight for each in percent.holdings[None]] == [0.4, 0.6]
    assert not shares.by_name


def test_dated_sets_come_in_order_of_time(tmp_path: Path) -> None:
    text = "date,sector,weight\n2024-06-30,Energy,1\n2020-06-30,Energy,1\n2020-06-30,Utilities,3\n"
    found = read_weights(written(tmp_path, text)).holdings
    assert list(found) == [date(2020, 6, 30), date(2024, 6, 30)]
    assert [each.weight for each in found[date(2020, 6, 30)]] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "weights.csv: no header with the columns sector and weight"),
        ("sector,weight\nEnergy,many\n", "weights.csv:2: weight must be a number >= 0, was 'many'"),
        ("sector,weight\nEnergy,-1\n", "weights.csv:2: weight must be a number >= 0"),
        (
            "date,sector,weight\nnever,Energy,1\n",
            "weights.csv:2: date must be such as 2020-01-31, was 'never'",
        ),
        ("sector,weight\nCash,1\n", "weights.csv: no row with a sector and a weight"),
    ],
)
def test_what_says_nothing_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_weights(written(tmp_path, text))
    assert said in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(tmp_path / "missing.csv")
