"""A real browser for tests: Chromium over the DevTools protocol, without network."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from reports.pdf import FLAGS, find_chromium

WAIT_S = 60.0


class Page:
    """One tab. `trouble` collects console errors, uncaught exceptions and failed loads; `requested` every
    address that it asked for."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.trouble: list[str] = []
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            self._note(message)
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])

    def _note(self, message: dict[str, Any]) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.trouble.append(given["exceptionDetails"].get("text", "exception") + str(given)[:400])
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.trouble.append(str(given["args"])[:400])
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.trouble.append(given["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(given["request"]["url"])

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)  # fmt: skip

    def open(self, path: Path, anchor: str = "") -> None:
        """Open a file and wait until its charts can be drawn."""
        self.call("Page.navigate", url=path.resolve().as_uri() + anchor)
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def value(self, expression: str) -> Any:
        """Return what an expression in the page is; a promise is awaited."""
        made = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, f"{expression}: {made['exceptionDetails']}"
        return made["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + WAIT_S
        while not self.value(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never came true: {condition}; {self.trouble}"
            self.value("new Promise(done => setTimeout(done, 25))")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        made = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(made["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with a profile of its own; skip the test where there is none."""
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: make chromium")
    profile = Path(tempfile.mkdtemp(prefix="smallcap-chromium-"))
    process = subprocess.Popen(
        [program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with connect(_page_address(profile), max_size=None, compression=None, open_timeout=WAIT_S) as socket:
            yield Page(socket)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _page_address(profile: Path) -> str:
    port, target = profile / "DevToolsActivePort", ""
    end = time.monotonic() + WAIT_S
    while not (port.is_file() and len(port.read_text().splitlines()) == 2):
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    number, path = port.read_text().splitlines()
    with connect(f"ws://127.0.0.1:{number}{path}", open_timeout=WAIT_S) as socket:
        while not target:
            socket.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            tabs = json.loads(socket.recv(timeout=WAIT_S)).get("result", {}).get("targetInfos", [])
            target = next((tab["targetId"] for tab in tabs if tab["type"] == "page"), "")
    return f"ws://127.0.0.1:{number}/devtools/page/{target}"
