"""Errors the engine raises, by what the caller can do about them.

    SmallcapError
      ConfigError       fix a setting or a parameter          (exit code 78)
      DataError         fix or replace an input file          (exit code 65)
      MissingPackage    install an optional package           (exit code 69)
      EngineError       a bug, or state that may not go on    (exit code 70)

A rejected signal or order is not an error: it is an event with a typed reason (`engine.events`).
"""

from __future__ import annotations


class SmallcapError(Exception):
    """Base of every error that is reported as one line without a traceback."""

    exit_code = 1


class ConfigError(SmallcapError):
    """A setting, parameter or option has a value that cannot be used."""

    exit_code = 78


class DataError(SmallcapError):
    """An input file is missing, unreadable, or holds nothing that can be used."""

    exit_code = 65


class MissingPackage(SmallcapError):
    """An optional package is needed and not installed; the message holds the install command."""

    exit_code = 69


class EngineError(SmallcapError):
    """The engine was driven against its rules, or its state can no longer be trusted."""

    exit_code = 70
