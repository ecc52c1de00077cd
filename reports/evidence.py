"""The files behind the tear sheet that no other report needs: daily, monthly and yearly figures, drawdowns,
exposure by sector, and the bars around each trade.

The tear sheet is made from files alone, so whatever it shows can be looked up beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from engine.events import Fills, Side, Trades
from reports.arrow import as_arrow, text_array
from reports.bootstrap import Bootstrap, bootstrap
from reports.brinson import FILE as BRINSON
from reports.brinson import brinson_table, sector_rows
from reports.daily import Daily, day_numbers
from reports.files import Column, Dates, floats, integers, text, write_atomic, write_csv
from reports.formulas import ANNUAL_SESSIONS
from reports.judgement import FILE as SIGNIFICANCE
from reports.nearby import Nearby
from reports.performance import Summary, aligned

if TYPE_CHECKING:
    from reports.attribution import Attribution
    from reports.benchmark_sectors import BenchmarkSectors
    from reports.judgement import Judgement
    from reports.recorder import Recorder

Float = NDArray[np.float64]
Table = tuple[Sequence[str], Sequence[Column]]

ROLLING_SESSIONS = 126
BARS = "trades/bars.parquet"
INTERVALS = "performance/intervals.csv"
DISCLOSURES = "combined/disclosures.csv"
SECTORS = "combined/sector_exposure.csv"


def write_evidence(
    directory: Path, recorder: Recorder, summary: Summary, nearby: Nearby, attribution: Attribution | None,
    *, risk_free_rate: float = 0.0, judgement: Judgement | None = None,
    sectors: BenchmarkSectors | None = None,
) -> list[Path]:  # fmt: skip
    """Write the files; return their paths. `attribution`: None where the run cannot be attributed, then
    there is no exposure by sector."""
    account = summary.combined.history
    benchmark = summary.benchmark.history if summary.benchmark is not None else None
    tables = {
        "combined/daily.csv": daily_table(account, benchmark, risk_free_rate),
        "combined/monthly.csv": monthly_table(account, benchmark, recorder),
        "combined/yearly.csv": yearly_table(account, benchmark),
        "combined/drawdowns.csv": drawdowns_table(account),
    }
    against = None if benchmark is None else aligned(account, benchmark)
    tables[INTERVALS] = intervals_table(
        bootstrap(account, trades=recorder.rows(Trades), benchmark=against, risk_free_rate=risk_free_rate)
    )
    if attribution is not None:
        keys, share = attribution.exposure("sector")
        header = ("date", *(key[0] for key in keys))
        tables[SECTORS] = header, (_days(account), *(floats(share[:, i]) for i in range(len(keys))))
    if judgement is not None:
        tables[SIGNIFICANCE] = judgement.table()
    if attribution is not None and sectors is not None:
        tables[BRINSON] = brinson_table(sector_rows(attribution, sectors, against))
    for name in {SECTORS, SIGNIFICANCE, BRINSON} - tables.keys():
        (directory / name).unlink(missing_ok=True)  # Of an earlier run into the same folder
    for name, (names, columns) in tables.items():
        write_csv(directory / name, list(text(names)), columns)
    write_bars(directory / BARS, recorder, nearby)
    return [*(directory / name for name in tables), directory / BARS]


def write_disclosures(directory: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the single numbers of `run.json` that the tear sheet tells, so that they are in a table too."""
    data, account = manifest["data"], manifest["settings"]["backtest"]
    ended, spread = manifest["survivorship"], manifest["intrabar_spread"] or {}
    rows: dict[str, Any] = {
        "rows": data["rows"], "symbols": data["symbols"], "capital": manifest["capital"],
        **{f"weight {each['name']}": each["weight"] for each in manifest["strategies"]},
        "names": ended["names"], "names_at_end": ended["names_at_end"],
        "ambiguous_bars": manifest["counts"]["ambiguous_bars"],
        "intrabar_spread_usd": spread.get("usd"), "intrabar_spread_share": spread.get("share"),
        "open_positions": len(manifest["open_positions"]),
        "open_positions_usd": sum(p["quantity"] * (p["mark"] or 0.0) for p in manifest["open_positions"]),
        **{f"trades_without_bars {name}": n for name, n in manifest["trades_without_bars"].items()},
        **{name: value for name, value in account.items() if isinstance(value, (int, float))},
    }  # fmt: skip
    values = np.array([np.nan if value is None else value for value in rows.values()], np.float64)
    write_csv(directory / DISCLOSURES, ("item", "value"), (text(rows), floats(values)))
    return directory / DISCLOSURES


def daily_table(account: Daily, benchmark: Daily | None, risk_free_rate: float) -> Table:
    """The benchmark's value is in dollars: the same capital held in it, from its first close on."""
    daily_rate = (1 + risk_free_rate) ** (1 / ANNUAL_SESSIONS) - 1
    returns = np.full(len(account), np.nan) if benchmark is None else aligned(account, benchmark)
    excess = account.returns - daily_rate
    return (
        "date", "return", "drawdown", "sharpe_126", "benchmark", "benchmark_drawdown", "beta_126",
    ), (
        _days(account), floats(account.returns), floats(account.underwater[1:]),
        floats(rolling_sharpe(excess)),
        floats(_on(account, benchmark, None if benchmark is None else benchmark.equity)),
        floats(_on(account, benchmark, None if benchmark is None else benchmark.underwater[1:])),
        floats(rolling_beta(excess, returns - daily_rate)),
    )  # fmt: skip


def intervals_table(made: Bootstrap) -> Table:
    """95 % intervals of the figures of all accounts together, and how they were resampled."""
    rows = list(made.intervals.values())
    figures = [
        [np.nan if value is None else value for value in (row.value, row.low, row.high)] for row in rows
    ]
    numbers = np.array(figures, np.float64).reshape(-1, 3)
    same = (made.level, made.resamples, made.seed, made.block_days)
    return (
        "metric", "value", "low", "high", "level", "resamples", "seed", "block_days", "undefined", "reason",
    ), (
        text(row.name for row in rows), *(floats(numbers[:, i]) for i in range(3)),
        *([str(value)] * len(rows) for value in same), [str(row.undefined) for row in rows],
        text(row.reason or "" for row in rows),
    )  # fmt: skip


def rolling_sharpe(excess: Float, sessions: int = ROLLING_SESSIONS) -> Float:
    """Return float64[n], annualised, of the `sessions` days up to each; NaN before there are as many."""
    made = np.full(len(excess), np.nan)
    if len(excess) >= sessions:
        windows = sliding_window_view(excess, sessions)
        deviation = windows.std(axis=1, ddof=1)
        varies = deviation > 1e-15
        np.divide(windows.mean(axis=1), deviation, out=made[sessions - 1 :], where=varies)
    return np.asarray(made * np.sqrt(ANNUAL_SESSIONS))


def rolling_beta(excess: Float, benchmark: Float, sessions: int = ROLLING_SESSIONS) -> Float:
    """Return float64[n], the slope on the benchmark over the `sessions` days up to each; NaN where one of
    them is missing."""
    made = np.full(len(excess), np.nan)
    if len(excess) >= sessions:
        ours, theirs = (sliding_window_view(values, sessions) for values in (excess, benchmark))
        centred = theirs - theirs.mean(axis=1, keepdims=True)
        spread = (centred**2).sum(axis=1)
        np.divide((ours * centred).sum(axis=1), spread, out=made[sessions - 1 :], where=spread > 1e-18)
    return made


def monthly_table(account: Daily, benchmark: Daily | None, recorder: Recorder) -> Table:
    """turnover: the smaller of buys and sells over the mean equity of the month."""
    months, returns = account.monthly()
    of_day = np.searchsorted(months, account.days.astype("datetime64[M]"))
    equity = np.bincount(of_day, account.equity, len(months)) / np.bincount(of_day)
    fills = recorder.rows(Fills)
    month = day_numbers(fills["ts"]).astype("datetime64[D]").astype("datetime64[M]")
    traded: list[Float] = [
        _totals(np.searchsorted(months, month[chosen]), fills["value_micro"][chosen] / 1e6, len(months))
        for chosen in (fills["side"] == Side.BUY, fills["side"] != Side.BUY)
    ]
    turnover = np.full(len(months), np.nan)
    np.divide(np.minimum(*traded), equity, out=turnover, where=equity > 0)
    return ("month", "return", "benchmark", "bought", "sold", "turnover"), (
        list(map(str, months)), floats(returns),
        floats(_matched(months, *benchmark.monthly()) if benchmark else np.full(len(months), np.nan)),
        floats(traded[0]), floats(traded[1]), floats(turnover),
    )  # fmt: skip


def yearly_table(account: Daily, benchmark: Daily | None) -> Table:
    years, returns = account.yearly()
    theirs = _matched(years, *benchmark.yearly()) if benchmark else np.full(len(years), np.nan)
    return ("year", "return", "benchmark"), (list(map(str, years)), floats(returns), floats(theirs))


def drawdowns_table(account: Daily) -> Table:
    """Every drawdown, the deepest first. No recovery: it was open at the end."""
    found = sorted(account.drawdowns(), key=lambda drawdown: (-drawdown.depth, drawdown.peak))
    day = list(map(str, np.concatenate((account.days[:1], account.days))))
    return ("rank", "depth", "peak", "trough", "recovery", "sessions", "days"), (
        [str(i + 1) for i in range(len(found))], floats(np.array([d.depth for d in found], np.float64)),
        [day[d.peak] for d in found], [day[d.trough] for d in found],
        ["" if d.recovery is None else day[d.recovery] for d in found],
        integers(np.array([d.sessions for d in found], np.int64)),
        integers(np.array([d.days for d in found], np.int64)),
    )  # fmt: skip


def write_bars(path: Path, recorder: Recorder, nearby: Nearby) -> None:
    """Write the bars around the trades as Parquet: symbol, date, open, high, low, close, volume."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    bars, dates = nearby.bars, Dates(recorder.equity().ts)
    rows, place = np.unique(bars["row"], return_inverse=True)
    days, names = text_array(dates(recorder.equity().ts[rows])), text_array(recorder.universe.symbols)
    columns = {
        "symbol": pa.DictionaryArray.from_arrays(as_arrow(bars["symbol"]), names),
        "date": pa.DictionaryArray.from_arrays(as_arrow(place.astype(np.int32)), days),
        **{name: as_arrow(bars[name]) for name in ("open", "high", "low", "close", "volume")},
    }
    sink = pa.BufferOutputStream()
    # Split by bytes, float32 prices deflate better and four times as fast as through a dictionary
    splits = dict.fromkeys(("open", "high", "low", "close", "volume"), "BYTE_STREAM_SPLIT")
    pq.write_table(
        pa.table(columns), sink, compression="zstd", use_dictionary=["symbol", "date"],
        column_encoding=splits, write_statistics=False,
    )  # fmt: skip
    write_atomic(path, sink.getvalue().to_pybytes())


def _totals(group: NDArray[np.intp], values: Float, n: int) -> Float:
    return np.asarray(np.bincount(group, values, n), np.float64)


def _days(account: Daily) -> list[str]:
    return list(map(str, account.days))


def _on(account: Daily, benchmark: Daily | None, values: Float | None) -> Float:
    """Return the benchmark's values on the account's days, NaN where it has none."""
    if benchmark is None or values is None:
        return np.full(len(account), np.nan)
    return _matched(account.days, benchmark.days, values)


def _matched(wanted: NDArray[Any], keys: NDArray[Any], values: Float) -> Float:
    made = np.full(len(wanted), np.nan)
    place = np.searchsorted(wanted, keys)
    inside = place < len(wanted)
    inside[inside] = wanted[place[inside]] == keys[inside]
    made[place[inside]] = values[inside]
    return made
