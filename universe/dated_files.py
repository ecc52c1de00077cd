"""A folder of files by day to which files are only ever added.

A file is named by its day, `2025-05-13.csv`; what comes later for the same day is `2025-05-13.2.csv` and so
on, and the newest counts. None is ever changed or removed, and each is there whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from filelock import FileLock

from engine.errors import DataError
from feeds.atomic import write_whole


class DatedFiles:
    """The files of `folder` that end in `suffix`, such as ".csv"."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix
        self._name = re.compile(rf"(\d{{4}}-\d\d-\d\d)(?:\.(\d+))?{re.escape(suffix)}$")

    def newest(self) -> dict[dt.date, Path]:
        """Return the file that counts of each day, in order of days."""
        return {day: path for day, (_, path) in sorted(self._found().items())}

    def add(self, day: dt.date, content: bytes) -> tuple[Path, bool]:
        """Keep `content` as what is known of a day; return its file and whether it is new.

        Raises DataError where the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                version, there = self._found().get(day, (0, None))
                if there is not None and there.read_bytes() == content:
                    return there, False
                number = f".{version + 1}" if version else ""
                path = self.folder / f"{day.isoformat()}{number}{self.suffix}"
                write_whole(path, content)
                return path, True
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written ({error.strerror or error})") from None

    def _found(self) -> dict[dt.date, tuple[int, Path]]:
        found: dict[dt.date, tuple[int, Path]] = {}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            match = self._name.match(path.name)
            if match is None:
                continue
            try:
                day = dt.date.fromisoformat(match[1])
            except ValueError:
                continue  # 2025-02-31.csv is somebody else's
            found[day] = max(found.get(day, (0, path)), (int(match[2] or 1), path))
        return found
