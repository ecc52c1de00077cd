"""One name per exchange, whatever a vendor calls it."""

from __future__ import annotations

NYSE, NASDAQ, AMEX = EXCHANGES = "NYSE", "NASDAQ", "AMEX"

_CODES = {
    NYSE: ("nyse", "nyq", "nys", "xnys", "new york stock exchange", "new york stock exchange inc"),
    NASDAQ: (
        "nasdaq", "nms", "ngm", "ncm", "nas", "xnas", "nasdaqgs", "nasdaqgm", "nasdaqcm",
        "nasdaq global select", "nasdaq global select market", "nasdaq global market",
        "nasdaq capital market", "nasdaq stock market",
    ),
    AMEX: (
        "amex", "ase", "xase", "nyse american", "nyseamerican", "nyse mkt", "nyse mkt llc",
        "american stock exchange",
    ),
}  # fmt: skip
_NAMES = {code: name for name, codes in _CODES.items() for code in codes}


def exchange_key(code: str) -> str:
    """Return NYSE, NASDAQ or AMEX for a vendor's code; any other in upper case as it stands, "" for none.

    Codes of Yahoo (NMS, NYQ, ASE), of Alpha Vantage, and the names that iShares writes out.
    """
    text = " ".join(code.lower().replace(".", " ").replace(",", " ").split())
    return _NAMES.get(text, text.upper())
