"""Small text files and strict JSON: bounded in size, one meaning per document."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from config.errors import SettingsError
from config.schema import Fault

SIZE_MAX = 1 << 20


def read_text(path: str | Path, label: str, *, size_max: int = SIZE_MAX) -> str:
    """Return the text of a regular file of at most `size_max` bytes, with or without a byte-order mark."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise SettingsError(f"{label}: expected a file, got a directory")
        if not stat.S_ISREG(status.st_mode):  # A pipe without a writer would wait for ever
            raise SettingsError(f"{label}: expected a regular file")
        with open(path, "rb") as file:
            data = file.read(size_max + 1)
    except FileNotFoundError:
        raise SettingsError(f"{label}: no such file") from None
    except OSError as error:
        raise SettingsError(f"{label}: cannot be read: {error.strerror}") from None
    except ValueError:  # A NUL or a lone surrogate in the name
        raise SettingsError(f"{label}: not a file name") from None
    if len(data) > size_max:
        raise SettingsError(f"{label}: expected at most {size_max} bytes, got more")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{label}: expected UTF-8, got something else at byte {error.start}") from None


def read_json(path: str | Path, label: str) -> Any:
    """Return the document of a JSON file."""
    text = read_text(path, label)
    try:
        return parse_json(text)
    except Fault as fault:
        raise SettingsError(f"{label}: {fault}") from None


def parse_json(text: str) -> Any:
    """Return the document; raise Fault where it is not JSON, repeats a key, or is nested without end."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise Fault(f"invalid JSON at {error.lineno}:{error.colno}: {error.msg}") from None
    except RecursionError:
        raise Fault("invalid JSON: nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise Fault(f"duplicate key {key}")
        result[key] = value
    return result


def _integer(digits: str) -> int | float:
    # int() refuses thousands of digits, and nothing here needs more than 18
    return int(digits) if len(digits) <= 18 else float(digits)
