"""The `notebook` command: a copy of the analysis notebook that reads a run of yours.

The template lies in `notebooks/`; only the line `RUN = ...` of its parameters is changed. The copy can be
edited and run without this project; its figures need the extra `notebook` (Plotly, a kernel).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from engine.errors import DataError, EngineError, SmallcapError
from scripts.console import one_line

TEMPLATE = Path(__file__).resolve().parents[1] / "notebooks" / "backtest_analysis_template.ipynb"
DESTINATION = Path("notebooks/trading_dashboard.ipynb")
OUTPUTS = (Path("out"), Path("reports/backtests"))  # where runs are looked for
_DEPTH = 3


def run_notebook(destination: Path, *, run: Path | None = None, force: bool = False) -> int:
    """Run the command and return its exit code."""
    from reports.files import write_atomic

    if destination.is_dir():
        raise SmallcapError(f"--dest {destination}: is a folder; name a file, such as dashboard.ipynb")
    if destination.exists():
        if destination.resolve() == TEMPLATE:
            raise SmallcapError(f"--dest {destination}: is the template itself")
        if not force:
            raise SmallcapError(f"{destination}: exists; --force replaces it, and what was changed in it")
    folder = checked(run) if run is not None else latest()
    content = wired(TEMPLATE.read_text(encoding="utf-8"), folder)
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(destination, content.encode())
    print(f"{destination}: reads {one_line(str(folder))}")
    return 0


def latest() -> Path:
    """Return the folder of the run that was finished last."""
    found = [path for root in OUTPUTS for path in _records(root)]
    if not found:
        places = " or ".join(f"{root}/" for root in OUTPUTS)
        raise DataError(
            f"no run in {places}: main.py backtest --output-dir out/NAME makes one, --run names another"
        )
    return max(found, key=lambda path: (path.stat().st_mtime_ns, str(path))).parent


def checked(folder: Path) -> Path:
    """Return the folder of a finished run; DataError for any other."""
    if not (folder / "run.json").is_file():
        raise DataError(f"--run {folder}: " + ("holds no run.json" if folder.is_dir() else "no such folder"))
    return folder


def wired(template: str, folder: Path) -> str:
    """Return the notebook with its parameter RUN set to a folder: the whole path, wherever it is run."""
    notebook = json.loads(template)
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            for i, line in enumerate(cell["source"]):
                if line.startswith("RUN = "):
                    comment = line[line.index("  #") :]
                    cell["source"][i] = f"RUN = {str(folder.resolve())!r}{comment}"
                    return json.dumps(notebook, indent=1) + "\n"
    raise EngineError(f"{TEMPLATE}: has no parameter RUN")


def _records(root: Path) -> Iterator[Path]:
    """Yield the `run.json` of the folders below, not of everything that may lie in them."""
    for depth in range(_DEPTH + 1):
        yield from root.glob("/".join(["*"] * depth + ["run.json"]))
