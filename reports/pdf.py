"""`tearsheet.pdf`: the tear sheet printed by headless Chromium, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import MissingPackage, SmallcapError
from reports.files import write_atomic

NAME = "tearsheet.pdf"
MISSING = "--pdf needs Chromium, which was not found: make chromium"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing is asked of the network; the sandbox needs rights that containers do not give.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
TIMEOUT_S = 120.0


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, None without one."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


def require_chromium() -> str:
    """Return the path of Chromium; raise MissingPackage, which says how to get it."""
    program = find_chromium()
    if program is None:
        raise MissingPackage(MISSING)
    return program


def write_pdf(folder: Path, manifest: Mapping[str, Any] | None = None) -> Path:
    """Print the tear sheet of a run into its folder; return the path."""
    from reports.tearsheet import read, render

    program = require_chromium()
    page = render(read(folder, manifest), for_print=True)
    with tempfile.TemporaryDirectory(prefix="smallcap-pdf-") as scratch:
        source, made = Path(scratch) / "tearsheet.html", Path(scratch) / "made.pdf"
        source.write_text(page, encoding="utf-8")
        command = [
            program, *FLAGS, f"--user-data-dir={scratch}/profile", "--no-pdf-header-footer",
            f"--print-to-pdf={made}", source.as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise SmallcapError(f"Chromium printed nothing within {TIMEOUT_S:.0f} s: {program}") from None
        if not made.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise SmallcapError(f"Chromium printed nothing ({program}): {' '.join(said)}")
        write_atomic(folder / NAME, made.read_bytes())
    return folder / NAME
