"""The log of the monitor: one JSON object per line, the values of secrets taken out wherever they are."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from config.secret import HIDDEN, Secret

LENGTH_MAX = 4_000  # characters of one value
SECRET_MIN = 4  # a shorter one would black out half of every line


def secrets_of(settings: Any) -> list[str]:
    """Return the values of all secrets in the settings, longest first."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, Secret):
            found.append(value.reveal())
        elif isinstance(value, msgspec.Struct):
            for name in value.__struct_fields__:
                walk(getattr(value, name))

    walk(settings)
    return sorted((value for value in found if len(value) >= SECRET_MIN), key=len, reverse=True)


def start_json_log(secrets: Iterable[str], *, verbose: bool, stream: TextIO | None = None) -> Redaction:
    """Send our log and that of libraries to `stream` (stderr) as JSON lines."""
    redact = Redaction(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[Any] = [
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.JSONRenderer(default=str),
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in ("asyncio", "numba", "aiosmtplib", "websockets", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return redact


def start_console_log(secrets: Iterable[str], *, verbose: bool) -> Redaction:
    """Send our log to the terminal for a person: warnings and worse, or everything."""
    redact = Redaction(secrets)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            redact,
            structlog.dev.ConsoleRenderer(pad_event_to=0),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    return redact


class Redaction:
    """Replaces secret values in everything that is logged, exceptions included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Replace these as well from now on."""
        self._secrets = tuple(sorted({*self._secrets, *secrets}, key=len, reverse=True))

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {str(key): self._clean(value) for key, value in event.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): self._clean(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._clean(inner) for inner in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        text = str(value)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text if len(text) <= LENGTH_MAX else f"{text[:LENGTH_MAX]}..."
