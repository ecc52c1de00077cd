"""Asking again where that may help: with growing, jittered waits, or after as long as the service says."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from feeds.provider import ProviderError

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How often and how long. The n-th wait is wait_s x 2^(n-1) + U(0, wait_s) seconds, at most wait_max_s.

    A service that asks for a longer wait than `wait_max_s` is not asked again.
    """

    attempts: int = 5
    wait_s: float = 1.0
    wait_max_s: float = 60.0


async def patiently(call: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Return what `call` returns; ProviderError of the last attempt where none succeeds."""

    def backoff(error: Exception) -> bool | float:
        if not isinstance(error, ProviderError) or not error.retry:
            return False
        if error.retry_after_s is None:
            return True
        return error.retry_after_s if error.retry_after_s <= patience.wait_max_s else False

    async for attempt in stamina.retry_context(
        on=backoff, attempts=patience.attempts, timeout=None, wait_initial=patience.wait_s,
        wait_max=patience.wait_max_s, wait_jitter=patience.wait_s,
    ):  # fmt: skip
        with attempt:
            return await call()
    raise AssertionError("the last attempt either returned or raised")


def _tell(details: RetryDetails) -> None:
    _log.debug("%s; attempt %d in %.1f s", details.caused_by, details.retry_num + 1, details.wait_for)


# Else stamina tells structlog, which without a configuration prints on stdout, in between our results.
set_on_retry_hooks([_tell])
