"""The charts of a tear sheet as Plotly figures: plain dictionaries, styled by the page's own script.

1. Colours are told apart by people who do not see red and green (Okabe and Ito; Tol for sectors).
2. Text "@dates" stands for the dates of `combined/daily.csv`, which every chart over time shares.
3. A chart without data is not there, nor one over time of a single day.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.arrow import significant
from reports.folder import RunFolder
from reports.formats import percent

Figure = dict[str, Any]
Float = NDArray[np.float64]

INK, ACCENT, GREY = "#1b1f24", "#1f5fa8", "#8a9099"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a5195", "#6b6b6b")
SECTORS = (
    "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499",
)  # fmt: skip
CURVE = "combined/equity_curve.csv"
DATES = "@dates"
WORST = 5
SYMBOLS = 20
FEW = 100  # trades: each is a dot to be found
MONTHS_NAMED = 6  # on an axis of so few, each has its name; of more, the axis chooses
PERCENT = {"tickformat": "~%", "hoverformat": ".2%"}  # ticks of half a per cent are not rounded to whole ones


def figures(folder: RunFolder, *, for_print: bool = False) -> dict[str, Figure]:
    """Return the charts by the id of the place they are drawn in. for_print: nothing transparent, which takes
    a printer of PDF a minute for thousands of dots."""
    made = {
        "equity": equity(folder), "drawdown": drawdown(folder),
        "rolling-sharpe": rolling(folder, "sharpe_126"),
        "rolling-beta": rolling(folder, "beta_126"), "sectors": sectors(folder), "turnover": turnover(folder),
        "r-multiples": r_multiples(folder), "excursions": excursions(folder, for_print), **multiples(folder),
        **attribution(folder),
    }  # fmt: skip
    return {name: figure for name, figure in made.items() if figure is not None}


def equity(folder: RunFolder) -> Figure | None:
    table, own = folder.table("combined/daily.csv"), daily_equity(folder)
    if len(own) < 2:
        return None
    data = [line(own, "combined", ACCENT, width=2)]
    benchmark = table.numbers("benchmark")
    if np.any(np.isfinite(benchmark)):
        data.insert(0, line(benchmark, "benchmark", GREY))
    return {"data": data, "layout": {"yaxis": {"type": "log", "tickprefix": "$"}, "height": 380}}


def drawdown(folder: RunFolder) -> Figure | None:
    table = folder.table("combined/daily.csv")
    if len(table) < 2:
        return None
    data = [line(-table.numbers("drawdown"), "combined", ACCENT, fill="tozeroy")]
    benchmark = table.numbers("benchmark_drawdown")
    if np.any(np.isfinite(benchmark)):
        data.append(line(-benchmark, "benchmark", GREY))
    worst = folder.table("combined/drawdowns.csv")
    trough, depth = worst.text("trough")[:WORST], worst.numbers("depth")[:WORST]
    marks = {
        "x": trough, "y": rounded(-depth), "type": "scatter", "mode": "markers+text", "name": "five worst",
        "text": [str(i + 1) for i in range(len(trough))], "textposition": "middle center",
        "hoverinfo": "skip",
        "marker": {"color": "#a04000", "size": 16}, "textfont": {"color": "#fff", "size": 11},
        "showlegend": False, "cliponaxis": False,
    }  # fmt: skip
    return {"data": [*data, marks], "layout": {"yaxis": PERCENT, "height": 280}}


def rolling(folder: RunFolder, column: str) -> Figure | None:
    values = folder.table("combined/daily.csv").numbers(column)
    if not np.any(np.isfinite(values)):
        return None
    level = 0 if column.startswith("sharpe") else 1
    rule = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": level, "y1": level,
            "line": {"color": GREY, "width": 1, "dash": "dot"}}  # fmt: skip
    return {
        "data": [line(values, column.split("_")[0], ACCENT, digits=4)],
        "layout": {"height": 220, "shapes": [rule], "showlegend": False},
    }


def sectors(folder: RunFolder) -> Figure | None:
    table = folder.table("combined/sector_exposure.csv")
    shares = {name: table.numbers(name) for name in table.names if name != "date"}
    shares = {name: share for name, share in shares.items() if np.nanmax(share, initial=0.0) > 0}
    if not shares or len(table) < 2:
        return None
    order = sorted(shares, key=lambda name: -float(np.nanmean(shares[name])))
    shown, rest = order[: len(SECTORS)], order[len(SECTORS) :]
    data = [
        area(shares[name], name, colour) for name, colour in zip(shown, SECTORS, strict=False)
    ]  # fmt: skip
    if rest:
        data.append(area(np.sum([shares[name] for name in rest], axis=0), f"{len(rest)} others", "#BBBBBB"))
    return {
        "data": data,
        "layout": {
            "yaxis": {**PERCENT, "rangemode": "tozero"},
            "height": 340,
            "tall": 130,
            "showlegend": True,
        },
    }


def turnover(folder: RunFolder) -> Figure | None:
    table = folder.table("combined/monthly.csv")
    values, months = table.numbers("turnover"), table.text("month")
    if not np.any(values > 0):
        return None
    bars = {"type": "bar", "x": months, "y": rounded(values), "xperiod": "M1", "xhoverformat": "%b %Y",
            "marker": {"color": ACCENT}, "name": "turnover"}  # fmt: skip
    named = {"dtick": "M1", "tickformat": "%b\n%Y", "ticklabelmode": "period"}
    axis = named if len(months) <= MONTHS_NAMED else {}
    return {"data": [bars], "layout": {"height": 220, "yaxis": PERCENT, "xaxis": axis, "showlegend": False}}


def r_multiples(folder: RunFolder) -> Figure | None:
    """A histogram from -3 R to 8 R in steps of a quarter; what lies beyond is in the outermost bars."""
    values = folder.table("trades/trades.csv").numbers("r_multiple")
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    edges = np.arange(-3.0, 8.01, 0.25)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1] - 1e-9), edges)
    middles = (edges[:-1] + edges[1:]) / 2
    labels = [f"{a:g} to {b:g} R" for a, b in pairwise(edges.tolist())]
    labels[0], labels[-1] = f"below {edges[1]:g} R", f"above {edges[-2]:g} R"
    bars = {
        "type": "bar", "x": middles.tolist(), "y": counts.tolist(), "width": 0.23, "hovertext": labels,
        "hovertemplate": "%{hovertext}: %{y:,} trades<extra></extra>",
        "marker": {"color": [ACCENT if m > 0 else "#D55E00" for m in middles.tolist()]},
    }  # fmt: skip
    return {
        "data": [bars],
        "layout": {"height": 300, "showlegend": False, "bargap": 0.05, "hovermode": "closest",
                   "xaxis": {"type": "linear", "title": {"text": "R multiple"}, "dtick": 1},
                   "yaxis": {"title": {"text": "trades"}}},
    }  # fmt: skip


def excursions(folder: RunFolder, for_print: bool = False) -> Figure | None:
    """Worst against best excursion of each trade; `customdata` is its row in trades.csv."""
    table = folder.table("trades/trades.csv")
    if not len(table):
        return None
    mae, mfe, pnl = table.numbers("mae"), table.numbers("mfe"), table.numbers("pnl")
    symbol, day = table.text("symbol"), table.text("entry_date")
    data, few = [], len(table) <= FEW
    for name, chosen, colour in (("lost", pnl <= 0, "#D55E00"), ("gained", pnl > 0, ACCENT)):
        rows = np.flatnonzero(chosen).tolist()
        data.append({
            "type": "scatter", "mode": "markers", "name": name,
            "x": rounded(-mae[rows], 4), "y": rounded(mfe[rows], 4), "customdata": rows,
            "text": [f"{escaped(symbol[i])} {day[i]}" for i in rows],
            "hovertemplate": "%{text}<br>worst \N{MINUS SIGN}%{x:.1%}, best %{y:+.1%}<extra></extra>",
            "marker": {"color": colour, "size": 8 if few else 4,
                       "opacity": 1.0 if for_print or few else 0.45},
        })  # fmt: skip
    high, deep = float(np.nanquantile(mfe, 0.995)), float(np.nanquantile(-mae, 0.995))
    return {
        "data": data,
        "layout": {"height": 300, "hovermode": "closest", "showlegend": True,
                   "xaxis": {"type": "linear", "tickformat": "~%", "range": [-0.02 * deep, 1.05 * deep],
                      "title": {"text": "worst excursion (MAE)"}},
                   "yaxis": {"tickformat": "~%", "range": [-0.02 * high, 1.05 * high],
                             "title": {"text": "best excursion (MFE)"}}},
    }  # fmt: skip


def multiples(folder: RunFolder) -> dict[str, Figure]:
    """One small chart of growth per account, on one scale."""
    table = folder.table(CURVE)
    rows = last_of_days(folder)
    growth = {}
    for name in folder.accounts:
        values = table.numbers(name)[rows]
        if len(values) > 1 and values[0] > 0:
            growth[name] = values / values[0] - 1
    if len(growth) < 2:
        return {}
    low = min(float(np.nanmin(values)) for values in growth.values())
    high = max(float(np.nanmax(values)) for values in growth.values())
    margin = max(0.05 * (high - low), 0.001)
    return {
        f"account-{i}": {
            "data": [line(values, escaped(name), SERIES[i % len(SERIES)], fill="tozeroy")],
            "layout": {"height": 170, "showlegend": False,
                       "yaxis": {**PERCENT, "range": [low - margin, high + margin], "nticks": 4},
                       "xaxis": {"nticks": 4}},
        }
        for i, (name, values) in enumerate(growth.items())
    }  # fmt: skip


def attribution(folder: RunFolder) -> dict[str, Figure]:
    """Bars of what each strategy, each sector and the symbols that mattered most contributed."""
    made = {}
    for place, name, key, most in (
        ("attribution-strategy", "performance/attribution.csv", "strategy", 12),
        ("attribution-sector", "performance/attribution_sector.csv", "sector", 16),
        ("attribution-symbol", "performance/attribution_symbol.csv", "symbol", SYMBOLS),
    ):
        table = folder.table(name)
        column = "linked" if np.any(np.isfinite(table.numbers("linked"))) else "contribution"
        values, labels = table.numbers(column), table.text(key)
        order = [i for i in np.argsort(-np.abs(values), kind="stable").tolist() if np.isfinite(values[i])]
        order = sorted(order[:most], key=lambda i: values[i])
        if np.any(values[order] != 0):
            made[place] = contribution_bars([labels[i] for i in order], values[order])
    return made


def contribution_bars(labels: list[str], values: Float) -> Figure:
    """Horizontal bars; the numbers stand beside the names, where no bar can run into them."""
    names = [
        f"{escaped(label.replace('_', ' '))}  {percent(value, sign=True)}"
        for label, value in zip(labels, values.tolist(), strict=True)
    ]
    bars = {
        "type": "bar", "orientation": "h", "y": names, "x": rounded(values),
        "marker": {"color": [ACCENT if value >= 0 else "#D55E00" for value in values.tolist()]},
        "hovertemplate": "%{y}<extra></extra>",
    }  # fmt: skip
    return {
        "data": [bars],
        "layout": {"height": 60 + 24 * len(labels), "showlegend": False, "hovermode": "closest",
                   "bargap": 0.35,
                   "xaxis": {"type": "linear", "tickformat": "~%", "nticks": 3, "tickangle": 0},
                   "yaxis": {"type": "category", "automargin": True, "showgrid": False, "dtick": 1}},
    }  # fmt: skip


def line(
    values: Float, name: str, colour: str, *, width: float = 1.4, fill: str = "", digits: int = 6
) -> Figure:
    made: Figure = {
        "type": "scatter", "mode": "lines", "x": DATES, "y": rounded(values, digits), "name": name,
        "line": {"color": colour, "width": width},
    }  # fmt: skip
    if fill:
        made |= {"fill": fill, "fillcolor": f"{colour}22"}
    return made


def area(values: Float, name: str, colour: str) -> Figure:
    made = line(values, escaped(name), colour, width=0, digits=4)
    return {**made, "stackgroup": "all", "fillcolor": colour}


def daily_equity(folder: RunFolder) -> Float:
    """Return the equity of all accounts at the close of each day of `combined/daily.csv`."""
    return folder.table(CURVE).numbers("equity")[last_of_days(folder)]


def last_of_days(folder: RunFolder) -> NDArray[np.intp]:
    """Return the rows of the equity curve that `combined/daily.csv` has: all, or the last of each day."""
    n_days, n_rows = len(folder.table("combined/daily.csv")), len(folder.days)
    if n_days == n_rows:
        return np.arange(n_rows)
    # Intraday rows are instants in UTC; the last before 05:00 belongs to the day before in New York.
    stamps = np.array([stamp.rstrip("Z") for stamp in folder.days], "datetime64[s]") - np.timedelta64(5, "h")
    day = stamps.astype("datetime64[D]")
    return np.flatnonzero(np.append(day[1:] != day[:-1], True)) if n_rows else np.empty(0, np.intp)


def rounded(values: Float, digits: int = 6) -> list[float]:
    """Return numbers for JSON with so many significant digits; NaN becomes null there."""
    return significant(values, digits).tolist()  # type: ignore[no-any-return]


def escaped(text: str) -> str:
    """Return text that Plotly shows as it is: it takes tags for mark-up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
