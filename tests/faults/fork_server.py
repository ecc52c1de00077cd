"""Runs trials in forked children, so that each costs milliseconds and not the start of an interpreter.

Started with the shim preloaded: `python -m tests.faults.fork_server SMTP_PORT`. It reads one JSON object per
line ({"store", "port", "recipient", and maybe "mode", "at", "forever", "seed", "variant", "trace"}) and
answers with one ({"status", "said"}).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import structlog

from tests.faults import trial

MODES = {"count": 0, "kill": 1, "power": 2, "nospace": 3, "eio": 4, "term": 5}
DEADLINE_S = 60
PR_SET_PDEATHSIG = 1


def main() -> None:
    shim = ctypes.CDLL(None)
    shim.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # Or it would wait for ever for a mail server that is gone
    structlog.configure(processors=[_drop])
    shim.shim_calls.restype = ctypes.c_long
    _warm(int(sys.argv[1]))
    print(json.dumps({"status": "ready"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_forked(shim, json.loads(line))), flush=True)


def _drop(*_: object) -> dict[str, object]:
    raise structlog.DropEvent


def _warm(smtp_port: int) -> None:
    """Live once, so that children find everything loaded."""
    with tempfile.TemporaryDirectory() as folder:
        trial.live(Path(folder) / "warm", smtp_port, "warm@example.org")


def _forked(shim: ctypes.CDLL, order: dict) -> dict:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 70
        try:
            code = _live(shim, order, writing)
        except BaseException as error:
            code = getattr(error, "exit_code", 70)
            with contextlib.suppress(OSError):
                os.write(writing, "".join(traceback.format_exception_only(error)).encode()[:4000])
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return {"order": order["order"], "status": os.waitstatus_to_exitcode(status), "said": said}


def _live(shim: ctypes.CDLL, order: dict, writing: int) -> int:
    signal.alarm(DEADLINE_S)
    store = Path(order["store"])
    told = None
    trace = -1
    if order.get("trace"):
        trace = os.open(order["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def told(what: str) -> None:
            shim.shim_mark(what.encode())

    shim.shim_arm(
        str(store).encode(), MODES[order.get("mode", "count")], ctypes.c_long(order.get("at", 0)),
        int(order.get("forever", False)), order.get("seed", 1), trace,
    )  # fmt: skip
    reason = trial.live(store, order["port"], order["recipient"], variant=order.get("variant", 0), told=told)
    os.write(writing, f"{reason} after {shim.shim_calls()} calls, fired {shim.shim_fired()}".encode())
    return 0


if __name__ == "__main__":
    main()
