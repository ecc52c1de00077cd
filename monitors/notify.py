"""Word to the service manager (systemd): a datagram to the socket that it names, if it names one."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class ServiceManager:
    """`environment` holds NOTIFY_SOCKET and WATCHDOG_USEC, as systemd sets them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if self._address and usec.isdecimal() else None

    def say(self, *words: str) -> None:
        """Send assignments such as READY=1. A manager that is gone or deaf is no reason to stop."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(words).encode(), address)
        except OSError:
            return
