"""The part of the tear sheet that says how far to trust it: refusals, conventions, costs, data, trials."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reports.folder import RunFolder
from reports.formats import escape, percent, table, usd, words
from reports.tearsheet_sections import Section, definitions


def refusals(folder: RunFolder) -> Section | None:
    """How many signals were refused, why, and by which strategy."""
    refused = folder.table("trades/rejections.csv")
    if not len(refused):
        return None
    strategies = list(dict.fromkeys(refused.text("strategy")))
    counts = Counter(zip(refused.text("reason"), refused.text("strategy"), strict=True))
    totals = Counter(refused.text("reason"))
    most = max(totals.values())
    rows = [
        [words(reason), f'<span class="fill" style="width:{94 * n / most:.1f}%"></span>', f"{n:,}",
         *(f"{counts[reason, name]:,}" if counts[reason, name] else "" for name in strategies)]
        for reason, n in totals.most_common()
    ]  # fmt: skip
    html = table(["reason", "", "all", *map(words, strategies)], rows, classes="bars")
    signals = len(folder.table("trades/signals.csv"))
    said = f'<p class="note">{len(refused):,} refusals; the strategies gave {signals:,} signals.</p>'
    html = said + html.replace("<td><span", '<td class="bar"><span')
    return Section("refusals", "Signals that were refused", html, ("trades/rejections.csv",))


def appendix(folder: RunFolder, trials: str) -> Section:
    """trials: what is known of the number of configurations that were tried."""
    parts = [
        ("Survivorship", survivorship(folder.manifest)),
        ("Trials", f"<p>{escape(trials)}</p>"),
        ("Costs and fills", costs(folder.manifest)),
        ("Bars that hold both a stop and a target", ambiguous(folder.manifest)),
        ("Data set aside", quarantined(folder)),
        ("Positions open at the end", still_open(folder.manifest)),
        ("Conventions", conventions(folder)),
    ]
    html = "".join(f"<h3>{title}</h3>{text}" for title, text in parts if text)
    sources = ("run.json", "data_quality.csv", "performance/conventions.csv")
    return Section("appendix", "How to read this", html, sources, long=True)


def survivorship(manifest: dict[str, Any]) -> str:
    """Say which share of the universe is still trading at the end."""
    known = manifest.get("survivorship")
    if not known or not known.get("names"):
        return "<p>Not known for this run: its record does not say which names still trade at the end.</p>"
    names, there = known["names"], known["names_at_end"]
    share = percent(there / names)
    if there == names:
        return (
            f'<p class="warn"><strong>All {names:,} names still trade at the end ({share} of the universe'
            f" has no"
            " delisted history).</strong> The list was drawn up with hindsight: companies that failed or"
            " were bought"
            " are missing, and the results are better than an investor of the time could have had.</p>"
        )
    return (
        f"<p>{there:,} of {names:,} names still trade at the end: {share} of the universe has no delisted"
        f" history;"
        f" {names - there:,} stopped before. Whether names that vanished are missing altogether cannot be"
        f" told from"
        " the data.</p>"
    )


def costs(manifest: dict[str, Any]) -> str:
    account = manifest.get("settings", {}).get("backtest", {})
    if not account:
        return "<p>Not recorded for this run.</p>"
    said = [
        ("commission", f"{percent(account['transaction_cost'], digits=2)} of the value of each fill"),
        ("slippage", f"{account['slippage_bps']:g} bp against every market order and stop"),
        ("spread and impact", "half the Corwin-Schultz spread, square-root impact"
         if account.get("costs") == "realistic"
         else f"{account['half_spread_bps']:g} bp half-spread, impact {account['impact_coefficient']:g}"),
        ("volume", f"at most {percent(account['participation'], digits=0)} of a bar's volume"),
        ("timing", "decided at a close, filled at the next open; stops rest from the entry on"),
        ("risk-free rate", f"{percent(account['risk_free_rate'], digits=2)} a year"),
    ]  # fmt: skip
    return table(["", ""], [[name, escape(text)] for name, text in said], words=(1,))


def ambiguous(manifest: dict[str, Any]) -> str:
    n = manifest.get("counts", {}).get("ambiguous_bars")
    if n is None:
        return "<p>Not recorded for this run.</p>"
    if n == 0:
        return "<p>None: the result does not depend on what is assumed about prices inside a bar.</p>"
    policy = manifest.get("settings", {}).get("backtest", {}).get("intrabar", "worst")
    spread = manifest.get("intrabar_spread")
    known = (
        f" Best and worst assumption end {usd(spread['usd'])} apart ({percent(spread['share'])} of capital)."
        if spread
        else " How much hangs on it: run again with backtest.intrabar set to best and compare the two folders"
        " with the report command."
    )
    return f"<p>{n:,} bars, taken as “{escape(policy)}”.{known}</p>"


def quarantined(folder: RunFolder) -> str:
    rows = folder.table("data_quality.csv")
    notes = "".join(f"<li>{escape(note)}</li>" for note in folder.manifest.get("data", {}).get("notes", ()))
    noted = f"<ul>{notes}</ul>" if notes else ""
    if not len(rows):
        return f"<p>No row of the input was set aside.</p>{noted}"
    by_reason = Counter(rows.text("reason")).most_common()
    listed = ", ".join(f"{words(reason)} {n:,}" for reason, n in by_reason)
    return f"<p>{len(rows):,} rows of the input were set aside: {listed}.</p>{noted}"


def still_open(manifest: dict[str, Any]) -> str:
    held = manifest.get("open_positions")
    if not held:
        return ""
    worth = sum(position["quantity"] * (position["mark"] or 0.0) for position in held)
    return (
        f"<p>{len(held):,} positions worth {usd(worth)} at the last close. They count in equity and"
        f" drawdown, and in"
        " no figure about trades.</p>"
    )


def conventions(folder: RunFolder) -> str:
    rows = [[words(known.title), escape(known.convention)] for known in definitions(folder).values()]
    general = (
        "<p>Daily returns are equity after flows over equity the day before; a year has 252 sessions."
        " Undefined"
        " figures are left blank with their reason, never 0. Losses are positive where they are called"
        " drawdown,"
        " VaR or ES.</p>"
    )
    return general + (table(["figure", "definition"], rows, words=(1,)) if rows else "")
