"""Screens on disk: who was screened on a day, by which limits, who passed and where each of the others fell.

    <universe_dir>/screens/2026-11-22.json      a `ScreenRecord`; a second one of the day is 2026-11-22.2.json
    <universe_dir>/screens/2026-11-22.csv       the names that passed, for `backtest --symbols`

Files are only ever added.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec

from config.settings import UniverseCriteria
from engine.errors import DataError
from universe.dated_files import DatedFiles
from universe.screen import Verdict


class ScreenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """as_of: the day of which is asked; screened_at: when it was asked, ISO time in UTC. skipped: why nothing
    could be said of a symbol."""

    as_of: str
    screened_at: str
    criteria: UniverseCriteria
    passed: tuple[Verdict, ...]
    fallen: tuple[Verdict, ...]
    skipped: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def n_candidates(self) -> int:
        return len(self.passed) + len(self.fallen) + len(self.skipped)


class ScreenStore:
    """The screens below `universe_dir`."""

    def __init__(self, universe_dir: str | Path) -> None:
        self._folder = Path(universe_dir).expanduser() / "screens"

    def add(self, record: ScreenRecord, names_csv: bytes) -> list[Path]:
        """Keep a screen and the table of the names that passed; return both files."""
        day = dt.date.fromisoformat(record.as_of)
        contents = {".csv": names_csv, ".json": msgspec.json.format(msgspec.json.encode(record), indent=1)}
        return [DatedFiles(self._folder, suffix).add(day, content)[0] for suffix, content in contents.items()]

    def newest(self) -> ScreenRecord | None:
        """Return the screen of the newest day, None where there is none. Raises DataError."""
        files = DatedFiles(self._folder, ".json").newest()
        if not files:
            return None
        path = list(files.values())[-1]
        try:
            return msgspec.json.decode(path.read_bytes(), type=ScreenRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a stored screen ({error})") from None
