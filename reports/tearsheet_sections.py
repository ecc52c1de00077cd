"""The sections of the tear sheet: text and tables as HTML, places for charts, and the files behind each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reports import charts, static_chart
from reports.brinson import ALL as BRINSON_ALL
from reports.brinson import FILE as BRINSON
from reports.evidence import INTERVALS, ROLLING_SESSIONS
from reports.folder import METRICS, SUMMARY, RunFolder
from reports.formats import SPACE, escape, figure, percent, table, words

TILES = (
    "cagr", "sharpe", "max_drawdown", "volatility", "sortino", "calmar", "hit_rate", "profit_factor",
    "expectancy_r", "turnover", "exposure_mean", "beta",
)  # fmt: skip
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PER_CENT = f"{SPACE}%"
STRONGEST = 0.08  # a month's return that has the full colour


class Section(NamedTuple):
    """sources: files of the folder that its numbers are in. long: may break across printed pages."""

    place: str
    title: str
    html: str
    sources: tuple[str, ...]
    long: bool = False


class Definition(NamedTuple):
    title: str
    unit: str
    convention: str


def definitions(folder: RunFolder) -> dict[str, Definition]:
    """Return what `performance/conventions.csv` says of each metric."""
    known = folder.table("performance/conventions.csv")
    columns = (known.text(name) for name in ("metric", "title", "unit", "convention"))
    return {name: Definition(*rest) for name, *rest in zip(*columns, strict=True)}


def chart(place: str, height: int, before: str = "") -> str:
    """Return the place of a chart. before: what is there until the script draws it."""
    return f'<div class="chart" id="{place}" style="height:{height}px">{before}</div>'


def headline(folder: RunFolder, intervals: dict[str, tuple[float, float]]) -> Section:
    """The figures of all accounts together, with 95 % intervals where there are statistics."""
    known, ours = definitions(folder), folder.metrics.get("combined", {})
    theirs, undefined = folder.metrics.get("benchmark", {}), folder.undefined.get("combined", {})
    tiles = []
    for name in TILES:
        if name not in known:
            continue
        title, unit, convention = known[name]
        beside = []
        if name in intervals:
            low, high = intervals[name]
            beside.append(f"95 %: {figure(low, unit)} to {figure(high, unit)}")
        if name in theirs and name != "beta":
            beside.append(f"benchmark {figure(theirs[name], unit)}")
        value = (
            f'<div class="value">{figure(ours[name], unit)}</div>'
            if name in ours
            else f'<div class="value undefined">{escape(undefined.get(name, "not defined"))}</div>'
        )
        tiles.append(
            f'<div class="tile" title="{escape(convention)}"><div class="name">{words(title)}</div>{value}'
            f'<div class="beside">{"<br>".join(beside)}</div></div>'
        )
    everything = f"<details><summary>All figures, each account</summary>{all_figures(folder)}</details>"
    sources = (METRICS, SUMMARY, *((INTERVALS,) if intervals else ()))
    return Section("figures", "Figures", f'<div class="tiles">{"".join(tiles)}</div>{everything}', sources)


def all_figures(folder: RunFolder) -> str:
    known, rows = definitions(folder), folder.metrics
    names = list(known) or list(dict.fromkeys(name for row in rows.values() for name in row))
    body = []
    for name in names:
        title, unit = (known[name].title, known[name].unit) if name in known else (name, "ratio")
        body.append([words(title), *(figure(row.get(name), unit) for row in rows.values())])
    return table(["", *(words(name) for name in rows)], body)


def equity(folder: RunFolder) -> Section | None:
    if charts.equity(folder) is None:
        return None
    switch = (
        '<div class="switch" role="group" aria-label="Scale">'
        '<button type="button" data-chart="equity" data-axis="log" aria-pressed="true">log</button>'
        '<button type="button" data-chart="equity" data-axis="linear"'
        ' aria-pressed="false">linear</button></div>'
    )
    drawn = chart("equity", 380, static_chart.equity(folder))
    return Section("growth", "Equity", switch + drawn, ("combined/daily.csv", charts.CURVE))


def drawdowns(folder: RunFolder) -> Section | None:
    worst = folder.table("combined/drawdowns.csv")
    if not len(worst):
        return None
    n = min(len(worst), charts.WORST)
    rows = [
        [str(i + 1), percent(worst.numbers("depth")[i]), worst.text("peak")[i], worst.text("trough")[i],
         worst.text("recovery")[i] or "open at the end", f"{worst.numbers('sessions')[i]:,.0f}",
         f"{worst.numbers('days')[i]:,.0f}"]
        for i in range(n)
    ]  # fmt: skip
    head = ["", "depth", "from", "lowest", "recovered", "sessions", "days"]
    html = chart("drawdown", 280) + table(head, rows)
    return Section("drawdowns", "Drawdowns", html, ("combined/daily.csv", "combined/drawdowns.csv"))


def months(folder: RunFolder) -> Section | None:
    """Returns of months and years, coloured by size: blue gains, orange losses."""
    monthly, yearly = folder.table("combined/monthly.csv"), folder.table("combined/yearly.csv")
    if not len(monthly):
        return None
    returns = dict(zip(monthly.text("month"), monthly.numbers("return").tolist(), strict=True))
    years = zip(
        yearly.text("year"),
        yearly.numbers("return").tolist(),
        yearly.numbers("benchmark").tolist(),
        strict=True,
    )
    rows = []
    for year, ours, theirs in years:
        cells = "".join(_heat(returns.get(f"{year}-{month:02d}")) for month in range(1, 13))
        rows.append(
            f'<tr><th>{escape(year)}</th>{cells}<td class="gap"></td>{_heat(ours, "year", 0.3)}'
            f"<td>{percent(theirs).removesuffix(PER_CENT)}</td></tr>"
        )
    head = "".join(f"<th>{month}</th>" for month in MONTHS)
    html = (
        f'<p class="note">In per cent. The first and the last month as far as they go.</p><div'
        f' class="scroll">'
        f'<table class="heat"><thead><tr><th></th>{head}<th'
        f' class="gap"></th><th>Year</th><th>Bench.</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return Section("months", "Months and years", html, ("combined/monthly.csv", "combined/yearly.csv"))


def _heat(value: float | None, extra: str = "", strongest: float = STRONGEST) -> str:
    if value is None or not np.isfinite(value):
        return "<td></td>"
    strength = min(1.0, abs(value) / strongest)
    colour = "31,95,168" if value >= 0 else "213,94,0"
    named = f' class="{extra}"' if extra else ""
    text = percent(value).removesuffix(PER_CENT)
    return f'<td{named} style="background:rgba({colour},{0.04 + 0.46 * strength:.2f})">{text}</td>'


def rolling(folder: RunFolder) -> Section | None:
    known = (("sharpe", "Sharpe"), ("beta", "Beta to the benchmark"))
    cells = [
        f"<div><h3>{title}</h3>{chart(f'rolling-{name}', 220)}</div>"
        for name, title in known
        if charts.rolling(folder, f"{name}_{ROLLING_SESSIONS}") is not None
    ]
    if not cells:
        return None
    html = f'<div class="pair">{"".join(cells)}</div>'
    return Section("rolling", f"Rolling {ROLLING_SESSIONS} sessions", html, ("combined/daily.csv",))


def exposure(folder: RunFolder) -> Section | None:
    parts, sources = [], []
    if charts.sectors(folder) is not None:
        parts.append("<h3>Share of equity by sector</h3>" + chart("sectors", 340))
        sources.append("combined/sector_exposure.csv")
    if charts.turnover(folder) is not None:
        parts.append(
            "<h3>Turnover of each month</h3>"
            '<p class="note">The smaller of buys and sells over the mean equity of the month.</p>'
            + chart("turnover", 220)
        )
        sources.append("combined/monthly.csv")
    return Section("exposure", "Exposure and turnover", "".join(parts), tuple(sources)) if parts else None


def accounts(folder: RunFolder) -> Section | None:
    if len(folder.accounts) < 2:
        return None
    known, drawn = definitions(folder), charts.multiples(folder)
    cells = []
    for i, name in enumerate(folder.accounts):
        row = folder.metrics.get(name, {})
        facts = ", ".join(
            f"{words(known[key].title)} {figure(row.get(key), known[key].unit)}"
            for key in ("cagr", "max_drawdown", "sharpe", "trades")
            if key in known
        )
        place = f"account-{i}"
        own = chart(place, 170) if place in drawn else ""
        cells.append(f'<div><h3>{words(name)}</h3><div class="note">{facts}</div>{own}</div>')
    html = (
        f'<p class="note">Growth of each account, on one scale.</p><div class="grid">{"".join(cells)}</div>'
    )
    return Section("strategies", "Strategies", html, (charts.CURVE, METRICS))


def attribution(folder: RunFolder) -> Section | None:
    made = charts.attribution(folder)
    if not made:
        return None
    many = len(folder.table("performance/attribution_symbol.csv")) > charts.SYMBOLS
    titles = {
        "attribution-strategy": "By strategy",
        "attribution-sector": "By sector",
        "attribution-symbol": f"The {charts.SYMBOLS} symbols that mattered most" if many else "By symbol",
    }
    parts = {
        place: f"<h3>{titles[place]}</h3>{chart(place, drawn['layout']['height'])}"
        for place, drawn in made.items()
    }
    last = parts.pop("attribution-symbol", "")
    sources = [
        f"performance/{place.replace('-', '_')}.csv" for place in made if place != "attribution-strategy"
    ]
    linked = np.any(np.isfinite(folder.table("performance/attribution.csv").numbers("linked")))
    how = (
        "Contributions are linked over time (Carino): those of each chart's file add up to the return."
        if linked
        else "Profit over the initial capital."
    )
    columns = f"<div>{''.join(parts.values())}</div><div>{last}</div>"
    html = f'<p class="note">{how}</p><div class="pair">{columns}</div>'
    return Section("attribution", "Attribution", html, ("performance/attribution.csv", *sources))


def brinson(folder: RunFolder) -> Section | None:
    """Selection and allocation against the benchmark's sectors, and what that takes for granted."""
    rows = folder.table(BRINSON)
    if not len(rows):
        return None
    numbers = {name: rows.numbers(name) for name in rows.names if name != "sector"}
    body = []
    for i, name in enumerate(rows.text("sector")):
        effects = (percent(numbers[key][i], sign=True) for key in ("allocation", "selection", "active"))
        shown = f'<span class="strong">{words(name)}</span>' if name == BRINSON_ALL else words(name)
        body.append([
            shown, percent(numbers["weight"][i]), percent(numbers["benchmark_weight"][i]),
            percent(numbers["contribution"][i], sign=True),
            percent(numbers["benchmark_return"][i], sign=True), *effects,
            f"{numbers['names'][i]:,.0f}" if numbers["names"][i] else "",
            percent(numbers["coverage"][i], digits=0),
        ])  # fmt: skip
    head = ["", "weight", "bench. weight", "contribution", "bench. return", "allocation", "selection", "both",
            "names", "covered"]  # fmt: skip
    html = f'<p class="note">{_brinson_note(folder)}</p>' + table(head, body)
    return Section("brinson", "Selection and allocation", html, (BRINSON,))


def _benchmark_name(folder: RunFolder) -> str:
    return str(folder.manifest.get("data", {}).get("benchmark") or "the benchmark")


def _brinson_note(folder: RunFolder) -> str:
    about = folder.manifest.get("benchmark_weights") or {}
    dates = about.get("dates", [])
    when = (
        f"The sectors have the weights of {escape(dates[0])} on every day"
        if len(dates) == 1
        else f"The sectors have {len(dates)} dated sets of weights, each from the session after its"
        " date, the first also before it"
        if dates
        else "The sectors have one set of weights, without a date, on every day"
    )
    how = "by the weights of the file" if about.get("by_name") else "equally"
    level = (
        f"shifted together each day so that they add up to {escape(_benchmark_name(folder))}"
        if "total_return" in folder.metrics.get("benchmark", {})
        else "and nothing corrects the hindsight in that list: without a benchmark series they are too high"
    )
    return (
        "Brinson and Fachler, daily, linked over time; interaction is part of selection. The two effects add"
        f" up to the portfolio's return less the benchmark's. {when}; their returns are those of this run's"
        f" own names, weighted {how} within a sector, {level}."
    )


def trades(folder: RunFolder) -> Section | None:
    table_ = folder.table("trades/trades.csv")
    if not len(table_):
        return None
    r = table_.numbers("r_multiple")
    r = r[np.isfinite(r)]
    words_ = ""
    if len(r):
        words_ = (
            f'<p class="note">{len(table_):,} closed trades. R is what was risked: entry less initial'
            f" stop. Half of"
            f" them ended between {figure(float(np.quantile(r, 0.25)), 'R')} and"
            f" {figure(float(np.quantile(r, 0.75)), 'R')}. Choose a dot to see its bars.</p>"
        )
    html = (
        words_ + '<div class="pair"><div><h3>R multiples</h3>' + chart("r-multiples", 300)
        + "</div><div><h3>Best against worst excursion</h3>" + chart("excursions", 300) + "</div></div>"
    )  # fmt: skip
    return Section("trades", "Trades", html, ("trades/trades.csv",))


def explorer(folder: RunFolder) -> Section:
    left_out = {k: v for k, v in folder.manifest.get("trades_without_bars", {}).items() if v}
    note = ""
    if left_out:
        listed = ", ".join(f"{words(name)} {n:,}" for name, n in left_out.items())
        note = (
            '<p class="note warn">To keep the page small, the trades with the smallest profit or loss have no'
            f" bars here: {listed}.</p>"
        )
    if _is_raw(folder):
        note += (
            '<p class="note">Prices are not adjusted: a split shows as a gap, and entry, initial stop and R'
            " of a trade are in the shares that it ended with.</p>"
        )
    html = (
        note + '<div class="explorer"><div class="picker">'
        '<input id="trade-search" type="search" placeholder="Symbol or day, e.g. 2020-03" '
        'aria-label="Symbol or entry day" autocomplete="off" spellcheck="false">'
        '<div class="two"><select id="trade-strategy" aria-label="Strategy"><option value="">all strategies'
        '</option></select><select id="trade-order" aria-label="Order"><option value="best-r">best R</option>'
        '<option value="best">largest gain</option><option value="worst">largest loss</option>'
        '<option value="newest">newest</option>'
        '<option value="open">still open</option><option value="held">held longest</option></select></div>'
        '<div id="trade-count" class="note" aria-live="polite"></div><ol id="trade-list"'
        ' class="list"></ol></div>'
        '<div class="shown"><h3 id="trade-title">Opening…</h3><p id="trade-facts" class="note"></p>'
        '<div id="trade-chart" style="min-height:460px"></div><dl id="trade-measures" class="measures"></dl>'
        '<details><summary>Fills</summary><div class="scroll"><table><thead><tr><th>day</th>'
        '<th class="left">side</th><th>shares</th><th>price</th><th class="left">reason</th></tr></thead>'
        '<tbody id="trade-fills"></tbody></table></div></details></div></div>'
    )
    files = ("trades/trades.csv", "trades/open_positions.csv", "trades/signals.csv", "trades/fills.csv",
             "trades/stops.csv", "trades/bars.parquet")  # fmt: skip
    sources = tuple(name for name in files if folder.has(name))
    return Section("explorer", "Trade explorer", html, sources)


def _is_raw(folder: RunFolder) -> bool:
    """Return whether the run's prices are unadjusted."""
    options, settings = (folder.manifest.get(name) or {} for name in ("options", "settings"))
    configured = settings.get("backtest", {}).get("adjustment")
    return bool((options.get("adjustment") or configured) == "raw")
