"""udpxfer on a lesser system: ``python3 -m bench.variant NAME COMMAND...`` runs its command line there.

What the system lacks is taken away where udpxfer asks the kernel for it, so that its own fallbacks do the rest.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

from udpxfer import cli
from udpxfer.io import udp

UNKNOWN_OPTION = 9_999
TINY_BUFFER_BYTES = 8192 // 2
STOCK_BUFFER_BYTES = 212_992 // 2  # the kernel doubles what is asked for


def without_offload() -> None:
    """A kernel that neither segments nor aggregates."""
    udp.UDP_SEGMENT = udp.UDP_GRO = UNKNOWN_OPTION


def stock_buffer() -> None:
    """Socket buffers as a stock kernel limits them (net.core.rmem_max = 212992)."""
    udp.SOCKET_BUFFER_BYTES = STOCK_BUFFER_BYTES


def tiny_buffer() -> None:
    """Socket buffers of 8 KB as the kernel counts: five datagrams of Ethernet's size."""
    udp.SOCKET_BUFFER_BYTES = TINY_BUFFER_BYTES


def vanishing() -> None:
    """A network that swallows what the kernel segments, without a word."""
    send = udp.SenderSocket._send  # noqa: SLF001 the network is what is replaced

    def swallow(self: udp.SenderSocket, parts: list[Any], ancillary: list[tuple[int, int, bytes]]) -> None:
        if not ancillary:
            send(self, parts, ancillary)

    udp.SenderSocket._send = swallow  # type: ignore[method-assign] # noqa: SLF001


def jumping_clock() -> None:
    """A wall clock that somebody sets all the time, days back and forth."""
    wall_clock = time.time
    time.time = lambda: wall_clock() + random.uniform(-1e6, 1e6)  # noqa: S311 no secret


VARIANTS = {
    "jumping-clock": jumping_clock,
    "without-offload": without_offload,
    "stock-buffer": stock_buffer,
    "tiny-buffer": tiny_buffer,
    "vanishing": vanishing,
}

if __name__ == "__main__":
    VARIANTS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
