"""The `report` command: the tables of finished runs from their files; several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.counted import counted
from engine.errors import SmallcapError
from reports.comparison import FIRST_METRICS, UNITS, Comparison, compare, page, shown
from reports.files import write_atomic
from reports.folder import RunFolder
from reports.formats import figure
from reports.manifest import to_json
from scripts.assembly import UsageError
from scripts.tables import WIDTH, console, print_line, rejections

COMPARISON = "comparison.html"
_SHOWN_SETTINGS = 40


def run_report(
    directories: Sequence[Path], *, html: Path | None = None, pdf: bool = False, json: bool = False
) -> int:
    """Print the runs in `directories` again and write what is asked for. html: the page of several runs, a
    file or a folder; of a single run its tear sheet."""
    if pdf and len(directories) > 1:
        raise UsageError("--pdf is of one run: report DIR --pdf")
    folders = [RunFolder(path) for path in directories]
    made = compare(folders)
    written = [_write_html(folders, html)] if html is not None else []
    if pdf:
        from reports.pdf import NAME, write_pdf

        try:
            written.append(write_pdf(folders[0].path))
        except OSError as error:
            raise SmallcapError(f"--pdf {folders[0].path / NAME}: {error.strerror}") from None
    notes = [note for folder in folders for note in folder.notes]
    if json:
        content = {**made.as_json(), "notes": notes, "paths": [str(path) for path in written]}
        print(to_json(content, indent=None), end="")
        return 0
    if len(folders) == 1:
        print_run(folders[0], made)
    else:
        print_comparison(made)
    for note in notes:
        print_line(note)
    for path in written:
        print_line(f"written to {path}")
    return 0


def print_run(folder: RunFolder, made: Comparison) -> None:
    """Print one run as it was printed when it ended."""
    from rich.table import Table

    manifest, days = folder.manifest, folder.days
    data = manifest.get("data", {})
    print_line(str(data.get("source", folder.path)))
    if days:
        size = counted(data["rows"] if data else len(days), "rows")
        size += f" x {counted(data['symbols'], 'symbols')}" if data else ""
        print_line(f"{days[0]} to {days[-1]}: {size}")
    print_line("")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH)
    table.add_column("", ratio=1, overflow="fold")
    for title in ("final equity", "return", "CAGR", "max DD", "Sharpe"):
        table.add_column(title, justify="right", no_wrap=True)
    known = {(row.account, row.metric): row.values[0] for row in made.rows}
    for account in dict.fromkeys(row.account for row in made.rows):
        table.add_row(account, *(_cell(known.get((account, name)), name) for name in FIRST_METRICS))
    console().print(table)
    counts = manifest.get("counts", {})
    if counts:
        listed = (counted(counts[kind], kind) for kind in ("bars", "signals", "orders", "fills", "trades"))
        n_open = counted(len(manifest.get("open_positions", ())), "positions")
        print_line(f"\n{', '.join(listed)}, {n_open} open".strip())
    refused = manifest.get("rejections", {})
    if refused:
        print_line(rejections(refused))
    if not manifest:
        print_line("no run.json: how it was made is not known")
    elif manifest.get("interrupted"):
        print_line("this run was interrupted")


def print_comparison(made: Comparison) -> None:
    """Print the figures of several runs side by side; a star marks those that differ from the first."""
    from rich.table import Table

    letters = [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(made.names))]
    for letter, name in zip(letters, made.names, strict=True):
        print_line(f"{letter}  {name}")
    print_line("")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    table.add_column("", no_wrap=True)
    for letter in letters:
        table.add_column(letter, justify="right", no_wrap=True)
    before = ""
    for row in made.rows:
        if row.metric not in FIRST_METRICS:
            continue
        cells = (
            _cell(value, row.metric) + ("*" if other else " ")
            for value, other in zip(row.values, row.differs, strict=True)
        )
        account = row.account if row.account != before else ""
        table.add_row(account, row.metric.replace("_", " "), *cells)
        before = row.account
    console().print(table)
    print_line("* differs from A" if any(any(row.differs) for row in made.rows) else "all figures are equal")
    for name in made.silent:
        print_line(f"{name}: no run.json, its settings are not known")
    if made.settings:
        print_line("\nsettings that differ:".strip())
    for name, values in made.settings[:_SHOWN_SETTINGS]:
        said = (f"{letter} {shown(value)}" for letter, value in zip(letters, values, strict=True))
        print_line(f"  {name}: {', '.join(said)}")
    if len(made.settings) > _SHOWN_SETTINGS:
        print_line(f"  and {len(made.settings) - _SHOWN_SETTINGS} more; --html or --json lists all")


def _write_html(folders: Sequence[RunFolder], target: Path) -> Path:
    if len(folders) == 1:
        from reports.tearsheet import NAME, render

        path = target / NAME if target.is_dir() else target
        content = render(folders[0])
    else:
        path = target / COMPARISON if target.is_dir() else target
        content = page(folders)
    try:
        write_atomic(path, content.encode())
    except OSError as error:
        raise SmallcapError(f"--html {path}: {error.strerror}") from None
    return path


def _cell(value: float | None, metric: str) -> str:
    """Return a figure in plain ASCII, as terminals and pipes want it."""
    if value is None:
        return "-"
    text = figure(value, UNITS.get(metric, "ratio"))
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", "").replace("$", "")
