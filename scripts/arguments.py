"""The command line before Typer sees it: what people type, in the form that its parser can take.

Global flags may come before or after the command, and `--strategies trend livermore` may name several at
once. Neither can be declared in Typer, so the arguments are put in order first; nothing is interpreted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GLOBAL_FLAGS = ("--force-config-reload", "--verbose")
GLOBAL_OPTIONS = ("--settings", "--defaults")  # each takes a path
SEVERAL_WORDS = ("--strategies", "--symbol")  # each takes all words up to the next option
CHECKS = {"--verify", "--replay-journal"}  # of what a monitor keeps
MAY_BE_EMPTY = ("--topic", "--reason")  # the beginning of every topic, no reason


def normalised(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with global flags first and each word of a list behind an option of its own."""
    leading: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif word in GLOBAL_FLAGS or (name in GLOBAL_OPTIONS and equals):
            leading.append(word)
        elif word in GLOBAL_OPTIONS:
            value = next(words, None)
            leading += [word] if value is None else [word, value]
        else:
            rest.append(word)
    return leading + _spread(rest)


def is_monitor(arguments: Sequence[str]) -> bool:
    """Return whether they start a monitor, and not one of the checks that it can be asked for instead."""
    words = iter(normalised(arguments))
    for word in words:
        if word in GLOBAL_OPTIONS:
            next(words, None)
        elif not word.startswith("--"):
            return word == "monitor" and not CHECKS & {other.partition("=")[0] for other in words}
    return False


def left_empty(arguments: Sequence[str]) -> str | None:
    """Return the option that was given "" as its value, as an unset variable of a shell does, or nothing but
    commas; None without.

    A path of "" would be the current folder: read as data, or written to.
    """
    for i, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        given = [value] if equals else arguments[i + 1 : i + 2]
        empty = any(not text.strip(", ") for text in given)
        if word == "--":
            break
        if word.startswith("--") and empty and name not in MAY_BE_EMPTY:
            return name
    return None


def not_text(arguments: Sequence[str]) -> str | None:
    """Return the first argument that is no UTF-8, None without: the name of such a file could not be written
    into any result."""
    return next((word for word in arguments if word != word.encode(errors="replace").decode()), None)


def split_names(values: Iterable[str] | None) -> list[str]:
    """Return the names in values that may each hold several, separated by commas; without repetitions."""
    names = [name.strip() for value in values or () for name in value.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def _spread(arguments: Sequence[str]) -> list[str]:
    spread: list[str] = []
    option = ""
    taken = 0  # words the open list option has so far
    for word in arguments:
        if word.startswith("-") and len(word) > 1:
            option, taken = (word if word in SEVERAL_WORDS else ""), 0
            spread.append(word)
        elif option:
            spread += [word] if taken == 0 else [option, word]
            taken += 1
        else:
            spread.append(word)
    return spread
