"""A store as a killed process leaves it."""

import shutil

from storage.found import DATABASE, MARK


def killed_copy(home, tmp_path):
    """Return a copy of the files as a killed process leaves them: the log not folded in."""
    copy = tmp_path / "killed"
    copy.mkdir(mode=0o700)
    for name in (DATABASE, f"{DATABASE}-wal", MARK):
        shutil.copy2(home / name, copy / name)
    return copy
