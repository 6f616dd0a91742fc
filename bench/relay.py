"""A long path: relays UDP datagrams of one client, each ``DELAY`` seconds later: ``python3 -m bench.relay PORT HOST PORT DELAY``."""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

DATAGRAM_BYTES = 65_536


def relay(listen_port: int, target: tuple[str, int], delay_s: float) -> None:
    """Relay in both directions until the process is ended."""
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind(("", listen_port))
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.connect(target)
    client: tuple[str, int] | None = None
    waiting: deque[tuple[float, bool, bytes]] = deque()  # when, towards the target, what
    while True:
        wait = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else None
        readable, _, _ = select.select([near, far], (), (), wait)
        now = time.monotonic()
        if near in readable:
            datagram, client = near.recvfrom(DATAGRAM_BYTES)
            waiting.append((now + delay_s, True, datagram))
        if far in readable:
            waiting.append((now + delay_s, False, far.recv(DATAGRAM_BYTES)))
        while waiting and waiting[0][0] <= now:
            _, onward, datagram = waiting.popleft()
            if onward:
                far.send(datagram)
            elif client is not None:
                near.sendto(datagram, client)


if __name__ == "__main__":
    relay(int(sys.argv[1]), (sys.argv[2], int(sys.argv[3])), float(sys.argv[4]))
