"""Several runs side by side: their figures, where they differ, and the settings that do.

The first run is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports import charts
from reports.folder import RunFolder
from reports.formats import escape, figure, table, words
from reports.tearsheet import document
from reports.tearsheet_sections import Section, chart, definitions

LAST = ("combined", "benchmark")
FIRST_METRICS = ("final_equity", "total_return", "cagr", "max_drawdown", "sharpe")
UNITS = {"final_equity": "usd", "total_return": "fraction", "cagr": "fraction", "max_drawdown": "fraction"}
_SAME = 1e-9  # relative: files may hold fewer digits than others
# Parts of run.json in which runs can differ on purpose
_COMPARED = ("options", "settings", "mode", "capital", "seed", "data", "code", "versions")
_NOT_COMPARED = ("data.notes",)


class Row(NamedTuple):
    """A metric of an account in every run, None where it is undefined or the run does not have it."""

    account: str
    metric: str
    values: tuple[float | None, ...]

    @property
    def differs(self) -> tuple[bool, ...]:
        """Return, per run, whether its value is another than the first run's."""
        return tuple(not _same(value, self.values[0]) for value in self.values)


class Comparison(NamedTuple):
    """settings: (name, value in each run) of those that are not the same in all; None where a run does
    not say. silent: runs without a `run.json`."""

    names: tuple[str, ...]
    rows: list[Row]
    settings: list[tuple[str, tuple[Any, ...]]]
    silent: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": list(self.names),
            "figures": [
                {"account": row.account, "metric": row.metric, "values": list(row.values),
                 "differs": list(row.differs)}
                for row in self.rows
            ],
            "settings": {name: list(values) for name, values in self.settings},
            "without_settings": list(self.silent),
        }  # fmt: skip


def compare(folders: Sequence[RunFolder]) -> Comparison:
    """Return the comparison of one or more runs."""
    names = unique_names(folders)
    figures = [folder.metrics for folder in folders]
    accounts = list(dict.fromkeys(name for run in figures for name in run if name not in LAST))
    accounts += [name for name in LAST if any(name in run for run in figures)]
    order = list(FIRST_METRICS)
    order += list(dict.fromkeys(m for run in figures for row in run.values() for m in row if m not in order))
    rows = []
    for account in accounts:
        for metric in order:
            values = tuple(run.get(account, {}).get(metric) for run in figures)
            if any(value is not None for value in values):
                rows.append(Row(account, metric, values))
    silent = tuple(name for name, folder in zip(names, folders, strict=True) if not folder.manifest)
    return Comparison(names, rows, differing_settings(folders), silent)


def unique_names(folders: Sequence[RunFolder]) -> tuple[str, ...]:
    """Return the folders' names; with their parents where names repeat."""
    short = [folder.path.resolve().name for folder in folders]
    return tuple(
        name if short.count(name) == 1 else str(folder.path)
        for name, folder in zip(short, folders, strict=True)
    )


def differing_settings(folders: Sequence[RunFolder]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return (dotted name, value in each run) of what is not the same in all runs that say."""
    told = [flat_settings(folder.manifest) for folder in folders]
    names = list(dict.fromkeys(name for run in told for name in run))
    found = []
    for name in names:
        said = [run[name] for run in told if name in run]
        silent = sum(1 for run in told if run and name not in run)
        if silent or any(value != said[0] for value in said):
            found.append((name, tuple(run.get(name) for run in told)))
    return found


def flat_settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings, options, parameters and data by dotted name."""
    made: dict[str, Any] = {}
    for part in _COMPARED:
        if part in manifest:
            _flatten(part, manifest[part], made)
    for strategy in manifest.get("strategies", ()):
        name = strategy.get("name", "?")
        _flatten(f"strategies.{name}", {k: strategy.get(k) for k in ("weight", "parameters")}, made)
    return {key: value for key, value in made.items() if not key.startswith(_NOT_COMPARED)}


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, into)
    else:
        into[name] = value


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _SAME * max(abs(one), abs(other))


def page(folders: Sequence[RunFolder]) -> str:
    """Return the comparison as one HTML page that loads nothing."""
    made = compare(folders)
    known = {name: value for folder in folders for name, value in definitions(folder).items()}
    sections = [_figures(made, known), _settings(made)]
    drawn = _growth(folders, made.names)
    if drawn:
        sections.insert(0, Section("curves", "Growth", chart("compared", 380), (charts.CURVE,)))
    runs = ", ".join(f"<strong>{escape(name)}</strong>" for name in made.names)
    header = (
        f'<p class="kicker">Comparison</p>\n<h1>{len(folders)} runs side by side</h1>\n'
        f'<p class="lead">{runs}. Bold figures differ from those of the first run.</p>'
    )
    notes = [note for folder in folders for note in folder.notes]
    notes += [f"{name} has no run.json: its settings are not known" for name in made.silent]
    header += "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    figures = {"charts": {"compared": drawn} if drawn else {}, "dates": []}
    return document("Comparison of runs", header, sections, figures, footer="")


def _figures(made: Comparison, known: Mapping[str, Any]) -> Section:
    body = []
    before = ""
    for row in made.rows:
        title, unit = (
            (known[row.metric].title, known[row.metric].unit)
            if row.metric in known
            else (row.metric.replace("_", " "), UNITS.get(row.metric, "ratio"))
        )
        cells = [
            f"<strong>{figure(value, unit)}</strong>" if other else figure(value, unit)
            for value, other in zip(row.values, row.differs, strict=True)
        ]
        account = f"<strong>{words(row.account)}</strong>" if row.account != before else ""
        body.append([account, words(title), *cells])
        before = row.account
    head = ["account", "figure", *map(escape, made.names)]
    return Section(
        "figures", "Figures", table(head, body, words=(1,)), ("performance/metrics.csv",), long=True
    )


def _settings(made: Comparison) -> Section:
    if not made.settings:
        text = "<p>No setting differs between the runs that have a run.json.</p>"
    else:
        body = [[words_of_setting(name), *(escape(shown(value)) for value in values)]
                for name, values in made.settings]  # fmt: skip
        wrapped = tuple(range(1, len(made.names) + 1))
        text = table(["setting", *map(escape, made.names)], body, words=wrapped)
    return Section("settings", "Settings that differ", text, ("run.json",), long=True)


def words_of_setting(name: str) -> str:
    return f"<code>{escape(name)}</code>"


def shown(value: Any) -> str:
    """Return a setting as text; a dash where a run does not say."""
    if value is None:
        return "-"
    if isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return value[:12]  # A hash
    return f"{value:g}" if isinstance(value, float) else str(value)


def _growth(folders: Sequence[RunFolder], names: Sequence[str]) -> dict[str, Any] | None:
    data = []
    for i, (folder, name) in enumerate(zip(folders, names, strict=True)):
        values = folder.table(charts.CURVE)
        first = next((column for column in ("equity", *values.names[1:]) if values.is_numeric(column)), "")
        curve = values.numbers(first)
        if len(curve) and curve[0] > 0:
            drawn = charts.line(curve / curve[0], charts.escaped(name), charts.SERIES[i % len(charts.SERIES)])
            data.append({**drawn, "x": folder.days})
    return {"data": data, "layout": {"height": 380, "yaxis": {"type": "log"}}} if data else None
