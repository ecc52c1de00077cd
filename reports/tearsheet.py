"""`tearsheet.html`: one page about a run that needs nothing but itself.

1. It is made from the files of the run's folder and from nothing else.
2. It loads nothing: script, style, data and Plotly are inside. Text of the run is escaped wherever it lands.
3. Plotly and the data are deflated, so that the page is there before they are unpacked.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.counted import counted
from engine.errors import MissingPackage
from reports import charts, explorer, tearsheet_appendix, tearsheet_sections
from reports.evidence import INTERVALS
from reports.files import write_atomic
from reports.folder import RunFolder
from reports.formats import escape, figure, percent, usd, words
from reports.manifest import to_json
from reports.tearsheet_sections import Section

NAME = "tearsheet.html"
TEMPLATES = Path(__file__).parent / "templates"
_SHORT = {
    "figures": "Figures", "growth": "Equity", "drawdowns": "Drawdowns", "months": "Months",
    "rolling": "Rolling",
    "exposure": "Exposure", "strategies": "Strategies", "attribution": "Attribution",
    "brinson": "Selection", "trades": "Trades",
    "explorer": "Explorer", "refusals": "Refusals", "appendix": "Appendix",
}  # fmt: skip


def write_tearsheet(folder: Path, manifest: Mapping[str, Any] | None = None) -> Path:
    """Write the tear sheet of a run into its folder; return its path. `manifest`: what its `run.json` will
    say, while it is not written yet."""
    path = folder / NAME
    write_atomic(path, render(read(folder, manifest)).encode())
    return path


def read(folder: Path, manifest: Mapping[str, Any] | None = None) -> RunFolder:
    """Return a run's folder, with its record as JSON would give it back."""
    return RunFolder(folder, None if manifest is None else json.loads(to_json(manifest)))


def render(folder: RunFolder, *, for_print: bool = False) -> str:
    """Return the page. for_print: everything drawn while it loads, and no explorer."""
    packed = None if for_print else explorer.pack(folder)
    figures = {
        "charts": charts.figures(folder, for_print=for_print),
        "dates": folder.table("combined/daily.csv").text("date"),
    }
    return document(
        _title(folder), _header(folder), _sections(folder, with_explorer=packed is not None), figures,
        footer=_footer(folder), trades=packed, for_print=for_print,
    )  # fmt: skip


def document(
    title: str, header: str, sections: Sequence[Section], figures: dict[str, Any], *, footer: str,
    trades: bytes | None = None, for_print: bool = False,
) -> str:  # fmt: skip
    """Return a page of sections. figures: the charts by place, and the `dates` that they share."""
    css = template("tearsheet.css")
    if for_print:  # Charts are drawn before there is paper: at its width, with its rules
        css = css.replace("@media print", "@media all") + "body { width: 182mm; }\n"
    return fill(template("tearsheet.html"), {
        "title": escape(title), "css": css, "header": header, "footer": footer,
        "nav": "\n".join(map(_link, sections)),
        "sections": "\n".join(map(_html, sections)),
        "data": _plain(figures) if for_print else _packed(figures, trades),
        "script": template("tearsheet.js") + (template("explorer.js") if trades is not None else ""),
    })  # fmt: skip


def fill(page: str, values: dict[str, str]) -> str:
    """Return a template with its {{names}} replaced, once: what is filled in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], page)


def template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def plotly_js() -> bytes:
    """Return the source of plotly.js as the installed package `plotly` carries it, without importing that."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage("tearsheet.html needs plotly; install it: pip install plotly")
    script = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return script.read_bytes()


@cache
def deflated_plotly() -> str:
    """Return plotly.js as the page holds it. Whoever has a thread to spare asks for it early: 0.2 s."""
    return _deflated(plotly_js())


def _sections(folder: RunFolder, *, with_explorer: bool) -> list[Section]:
    known = tearsheet_sections
    made: list[Section | None] = [known.headline(folder, intervals(folder))]
    parts: tuple[Callable[[RunFolder], Section | None], ...] = (
        known.equity, known.drawdowns, known.months, known.rolling, known.exposure, known.accounts,
        known.attribution, known.brinson, known.trades,
    )  # fmt: skip
    made += [part(folder) for part in parts]
    if with_explorer:
        made.append(known.explorer(folder))
    made += [
        tearsheet_appendix.refusals(folder),
        tearsheet_appendix.appendix(folder),
    ]
    return [section for section in made if section is not None]


def intervals(folder: RunFolder) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals by metric, of all accounts together; {} without statistics."""
    table = folder.table(INTERVALS)
    bounds = zip(table.numbers("low").tolist(), table.numbers("high").tolist(), strict=True)
    return {
        name: (low, high)
        for name, (low, high) in zip(table.text("metric"), bounds, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    }


def _link(section: Section) -> str:
    return f'<a href="#{section.place}">{escape(_SHORT.get(section.place, section.title))}</a>'


def _html(section: Section) -> str:
    files = ", ".join(f"<code>{escape(name)}</code>" for name in section.sources)
    return (
        f"<section"
        f' id="{section.place}"{" class=long" if section.long else ""}>\n<h2>{escape(section.title)}</h2>\n'
        f'{section.html}\n<p class="source">Numbers from {files}</p>\n</section>'
    )


def _title(folder: RunFolder) -> str:
    days = folder.days
    when = f"{days[0][:10]} to {days[-1][:10]}" if days else "no days"
    return f"Backtest, {when}"


def _header(folder: RunFolder) -> str:
    manifest, data = folder.manifest, folder.manifest.get("data", {})
    facts = []
    if data:
        facts.append(
            f"{escape(str(data.get('source')))}: {counted(data.get('rows', 0), 'rows')} of"
            f" {counted(data.get('symbols', 0), 'names')}"
        )
    if manifest.get("strategies"):
        shares = (f"{words(s['name'])} {percent(s['weight'], digits=0)}" for s in manifest["strategies"])
        facts.append(f"{escape(str(manifest.get('mode')))} mode, {', '.join(shares)}")
    if manifest.get("capital"):
        facts.append(f"{usd(manifest['capital'])} at the start")
    warning = '<p class="warn">This run was interrupted.</p>' if manifest.get("interrupted") else ""
    return (
        f'<p class="kicker">Backtest</p>\n<h1>{escape(_title(folder).removeprefix("Backtest, "))}</h1>\n'
        f'{_lead(folder)}\n<p class="facts">{". ".join(facts)}</p>{warning}'
    )


def _lead(folder: RunFolder) -> str:
    """Return the result in one sentence."""
    ours, theirs = folder.metrics.get("combined", {}), folder.metrics.get("benchmark", {})
    if "total_return" not in ours:
        return ""
    yearly = f", {figure(ours['cagr'], 'fraction')} a year" if "cagr" in ours else ""
    said = (
        f"The portfolio ended at {usd(ours['final_equity'])}:"
        f" {figure(ours['total_return'], 'fraction')}{yearly},"
        f" with a largest drawdown of {figure(ours.get('max_drawdown'), 'fraction')}."
    )
    if "total_return" in theirs:
        name = folder.manifest.get("data", {}).get("benchmark") or "The benchmark"
        yearly = f", {figure(theirs['cagr'], 'fraction')} a year" if "cagr" in theirs else ""
        said += (
            f" {escape(str(name))} returned {figure(theirs['total_return'], 'fraction')}{yearly}, with a"
            f" largest"
            f" drawdown of {figure(theirs.get('max_drawdown'), 'fraction')}{_other_days(folder)}."
        )
    return f'<p class="lead">{said}</p>'


def _other_days(folder: RunFolder) -> str:
    """Say over which days the benchmark's figures are, where those are not the run's."""
    table = folder.table("combined/daily.csv")
    days, held = table.text("date"), np.flatnonzero(np.isfinite(table.numbers("benchmark")))
    if not len(held) or (held[0], held[-1]) == (0, len(days) - 1):
        return ""
    return f", over {days[held[0]]} to {days[held[-1]]} alone, where it has prices"


def _footer(folder: RunFolder) -> str:
    parts = []
    for name in ("event_log_hash", "code"):
        if folder.manifest.get(name):
            parts.append(f"{name.replace('_', ' ')} <code>{escape(str(folder.manifest[name]))}</code>")
    fingerprint = folder.manifest.get("data", {}).get("fingerprint")
    if fingerprint:
        parts.append(f"data <code>{escape(str(fingerprint))}</code>")
    return "<br>".join(parts) or "This run has no run.json."


def _packed(figures: dict[str, Any], trades: bytes | None) -> str:
    blocks = {"packed-plotly": deflated_plotly(), "packed-charts": _deflated(_json(figures).encode())}
    if trades is not None:
        blocks["packed-trades"] = _deflated(trades)
    return "\n".join(
        f'<script type="application/octet-stream" id="{name}">{block}</script>'
        for name, block in blocks.items()
    )


def _deflated(block: bytes) -> str:
    # Level 2 takes a third of the time of 6 for 6 % more bytes.
    return base64.b64encode(zlib.compress(block, 2)).decode()


def _plain(figures: dict[str, Any]) -> str:
    # In a script element only `</` could end it too early, and `<!--` change how it is read.
    data = _json(figures).replace("<", "\\u003c")
    script = plotly_js().decode()
    return f'<script>{script}</script>\n<script type="application/json" id="plain-charts">{data}</script>'


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # Ten times faster than json; NaN is null
