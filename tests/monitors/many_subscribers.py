"""Many CURVE subscribers in one process: connect, count, and say how late messages were.

python -m tests.monitors.many_subscribers ADDRESS KEY_FILE SERVER_KEY SUBSCRIBERS MESSAGES
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import zmq

from monitors import curve, wire


def main(address: str, key: str, server: str, n_subscribers: int, n_messages: int) -> None:
    keys = curve.load_client(Path(key), Path(server))
    context = zmq.Context()
    context.max_sockets = n_subscribers + 10
    poller = zmq.Poller()
    for _ in range(n_subscribers):
        sub = context.socket(zmq.SUB)
        curve.protect_client(sub, keys)
        sub.connect(address)
        for topic in (wire.PACKET_TOPICS["signal"], wire.HEARTBEAT):
            sub.subscribe(topic)
        poller.register(sub, zmq.POLLIN)
    waiting = {sub for sub, _ in poller.sockets}
    while waiting:
        for sub, _ in poller.poll(60_000):
            sub.recv_multipart()
            waiting.discard(sub)
    print(json.dumps({"connected": n_subscribers}), flush=True)
    delivered, first_s, spread_s = 0, {}, []
    while delivered < n_subscribers * n_messages:
        ready = poller.poll(120_000)
        if not ready:
            break
        for sub, _ in ready:
            topic, frame = sub.recv_multipart()
            if topic != wire.HEARTBEAT.encode():
                packet = wire.decode_packet(frame)
                delivered, seq = delivered + len(packet.bodies), packet.seq
                spread_s.append(time.monotonic() - first_s.setdefault(seq, time.monotonic()))
    spread_s.sort()
    late = {f"after_first_p{p}_ms": round(spread_s[len(spread_s) * p // 100] * 1e3, 1) for p in (50, 99)}
    print(json.dumps({"delivered": delivered} | late), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
