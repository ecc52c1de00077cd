"""The one error of this package; `engine.errors.ConfigError` is its twin, which `config` may not import."""

from __future__ import annotations


class SettingsError(Exception):
    """A setting cannot be used. The message is one printable line: place, setting, what was expected."""

    exit_code = 78  # EX_CONFIG of sysexits.h

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


def _one_line(text: str) -> str:
    # File names and keys may hold line breaks, terminal escapes or lone surrogates, which cannot be printed
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
