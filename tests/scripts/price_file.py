"""A small price file that makes strategies trade: waves with their own phase and trend per symbol."""

import csv

import numpy as np

SYMBOLS = ("AAAA", "BBBB", "CCCC", "DDDD")


def weekdays(n, first="2021-01-04"):
    return [str(day) for day in np.busday_offset(np.datetime64(first), np.arange(n), roll="forward")]


def write_prices(path, *, n_days=160, symbols=SYMBOLS, volume=2_000_000, spoil=()):
    """Write a CSV in long format. `spoil`: rows (counted from 0) whose high is below their low."""
    rows = []
    for k, symbol in enumerate(symbols):
        t = np.arange(n_days)
        close = np.round((20 + 5 * k) * np.exp(0.001 * t + 0.18 * np.sin(2 * np.pi * (t / 45 + k / 4))), 2)
        for day, price, before in zip(weekdays(n_days), close, np.r_[close[:1], close[:-1]], strict=True):
            high, low = round(max(price, before) * 1.004, 2), round(min(price, before) * 0.996, 2)
            rows.append([symbol, day, before, high, low, price, volume])
    for i in spoil:
        rows[i][3] = 0.01
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["symbol", "date", "open", "high", "low", "close", "volume"])
        writer.writerows(rows)
    return path
