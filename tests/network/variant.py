"""udpxfer on systems that are worse than any that is measured: ``python3 -m tests.network.variant NAME COMMAND...``."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from udpxfer.io import udp

from bench import variant

TINY_BUFFER_BYTES = 8192 // 2  # the kernel doubles what is asked for


def tiny_buffer() -> None:
    """Socket buffers of 8 KB as the kernel counts: five datagrams of Ethernet's size."""
    udp.SOCKET_BUFFER_BYTES = TINY_BUFFER_BYTES


def vanishing() -> None:
    """A network that swallows what the kernel segments, without a word."""
    send = udp.SenderSocket._send

    def swallow(self: udp.SenderSocket, parts: list[Any], ancillary: list[tuple[int, int, bytes]]) -> None:
        if not ancillary:
            send(self, parts, ancillary)

    udp.SenderSocket._send = swallow  # type: ignore[method-assign]


def jumping_clock() -> None:
    """A wall clock that somebody sets all the time, days back and forth."""
    wall_clock = time.time
    time.time = lambda: wall_clock() + random.uniform(-1e6, 1e6)


VARIANTS = {
    **variant.VARIANTS,
    "jumping-clock": jumping_clock,
    "tiny-buffer": tiny_buffer,
    "vanishing": vanishing,
}

if __name__ == "__main__":
    sys.exit(variant.main(VARIANTS))
