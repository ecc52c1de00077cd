"""Ports for what a test starts again in the same place, or tells to another process before it is bound."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Return a port that nobody has, lower than those that the kernel gives to connections meanwhile."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 1_000):  # Seeds are alike in all workers
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
