"""The part of the tear sheet that says how far to trust it: refusals, conventions, costs, data, trials."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from engine.counted import counted
from feeds.quality import rows_and_adjustments
from reports.evidence import DISCLOSURES
from reports.folder import RunFolder
from reports.formats import escape, minus, percent, table, usd, words
from reports.judgement import FILE as SIGNIFICANCE
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
    signals = counted(len(folder.table("trades/signals.csv")), "signals")
    said = f'<p class="note">{counted(len(refused), "refusals")}; the strategies gave {signals}.</p>'
    html = said + html.replace("<td><span", '<td class="bar"><span')
    return Section("refusals", "Signals that were refused", html, ("trades/rejections.csv",))


def appendix(folder: RunFolder) -> Section:
    parts = [
        ("Survivorship", survivorship(folder.manifest)),
        ("Trials", trials(folder)),
        ("Costs and fills", costs(folder.manifest)),
        ("Bars that hold both a stop and a target", ambiguous(folder.manifest)),
        ("Data set aside", quarantined(folder)),
        ("Positions open at the end", still_open(folder.manifest)),
        ("Conventions", conventions(folder)),
    ]
    html = "".join(f"<h3>{title}</h3>{text}" for title, text in parts if text)
    files = (DISCLOSURES, SIGNIFICANCE, "trades/open_positions.csv", "data_quality.csv",
             "performance/conventions.csv")  # fmt: skip
    sources = ("run.json", *(name for name in files if folder.has(name)))
    return Section("appendix", "How to read this", html, sources, long=True)


def survivorship(manifest: dict[str, Any]) -> str:
    """Say how the universe was drawn up, and which share of it is still trading at the end."""
    drawn_up = "".join(f"<p>{escape(note)}.</p>" for note in (manifest.get("index") or {}).get("notes", ()))
    return drawn_up + _still_trading(manifest)


def _still_trading(manifest: dict[str, Any]) -> str:
    known = manifest.get("survivorship")
    if not known or not known.get("names"):
        return "<p>Not known for this run: its record does not say which names still trade at the end.</p>"
    names, there = known["names"], known["names_at_end"]
    share = percent(there / names)
    if there == names:
        trade = "The only name still trades" if names == 1 else f"All {names:,} names still trade"
        return (
            f'<p class="warn"><strong>{trade} at the end ({share} of the universe'
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


def trials(folder: RunFolder) -> str:
    """Say how many configurations were tried on these data, and what that does to the Sharpe ratio."""
    table_ = folder.table(SIGNIFICANCE)
    if not len(table_):
        return "<p>The number of configurations tried on these data is not recorded for this run.</p>"
    known = dict(zip(table_.text("metric"), table_.numbers("value").tolist(), strict=True))
    reason = dict(zip(table_.text("metric"), table_.text("reason"), strict=True))
    n = known["trials"]
    if math.isfinite(n):
        said = "1 configuration was" if n == 1 else f"{n:,.0f} configurations were"
        said += " tried on these data so far, this one included."
    else:
        said = f"How many configurations were tried on these data is not known: {reason['trials']}."
    if n > 1 and math.isfinite(known["mean_correlation"]):
        said += (
            f" The mean correlation of their daily returns is"
            f" {minus(format(known['mean_correlation'], '.2f'))}: they are"
            f" worth {known['effective_trials']:.1f} independent ones."
        )
    if math.isfinite(known["psr"]):
        said += f" The probability that the true Sharpe ratio is above 0 is {percent(known['psr'])} (PSR)"
        said += (
            f"; that it is more than the best of so many would reach by luck, {percent(known['dsr'])} (DSR)."
            if math.isfinite(known["dsr"])
            else ". Without their number, whether it is more than luck cannot be told (DSR)."
        )
        if math.isfinite(known["track_record_days"]):
            days = known["track_record_days"]
            said += f" To be 95 % sure that it is above 0 takes {days:,.0f} days like these."
    else:
        said += f" For this run: {reason['psr']}."
    return f"<p>{escape(said)}</p><p>{escape(overfitting(known, reason['pbo']))}</p>"


def overfitting(known: dict[str, float], reason: str) -> str:
    """Say how likely the best of the trials is the best by luck (PBO)."""
    if not math.isfinite(known["pbo"]):
        return f"Probability of overfitting (PBO): not defined, {reason}."
    slope = known["pbo_slope"]
    return (
        f"Probability that the best of {known['pbo_configurations']:,.0f} configurations over the same"
        f" {known['pbo_days']:,.0f} days is overfitted (PBO): {percent(known['pbo'])}. It is the share of the"
        " 12,870 ways to halve these days in which the configuration with the best Sharpe ratio in one"
        f" half was below the median in the other; in {percent(known['pbo_loss'])} of them it lost money."
        + (f" A ratio higher by 1 in one half went with {minus(format(slope, '+.2f'))} in the other."
           if math.isfinite(slope) else "")
    )  # fmt: skip


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
    return f"<p>{counted(n, 'bars')}, taken as “{escape(policy)}”.{known}</p>"


def quarantined(folder: RunFolder) -> str:
    rows = folder.table("data_quality.csv")
    notes = "".join(f"<li>{escape(note)}</li>" for note in folder.manifest.get("data", {}).get("notes", ()))
    noted = f"<ul>{notes}</ul>" if notes else ""
    if not len(rows):
        return f"<p>No row of the input was set aside.</p>{noted}"
    whole, adjustments = rows_and_adjustments(dict(Counter(rows.text("reason")).most_common()))
    said = ""
    for plural, which, counts in (
        ("rows", "of the input", whole),
        ("adjustments", "without their bars", adjustments),
    ):
        listed = ", ".join(f"{words(reason)} {n:,}" for reason, n in counts.items())
        said += (
            f"<p>{counted(sum(counts.values()), plural)} {which} set aside: {listed}.</p>" if counts else ""
        )
    return said + noted


def still_open(manifest: dict[str, Any]) -> str:
    held = manifest.get("open_positions")
    if not held:
        return ""
    worth = sum(position["quantity"] * (position["mark"] or 0.0) for position in held)
    return (
        f"<p>{counted(len(held), 'positions')} worth {usd(worth)} at the last close: counted in equity and"
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
