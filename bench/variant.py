"""udpxfer on a lesser system: ``python3 -m bench.variant NAME COMMAND...`` runs its command line there.

What the system lacks is taken away where udpxfer asks the kernel for it, so that its own fallbacks do the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from udpxfer import cli
from udpxfer.io import udp

UNKNOWN_OPTION = 9_999
STOCK_BUFFER_BYTES = 212_992 // 2  # the kernel doubles what is asked for


def without_offload() -> None:
    """A kernel that neither segments nor aggregates."""
    udp.UDP_SEGMENT = udp.UDP_GRO = UNKNOWN_OPTION


def stock_buffer() -> None:
    """Socket buffers as a stock kernel limits them (net.core.rmem_max = 212992)."""
    udp.SOCKET_BUFFER_BYTES = STOCK_BUFFER_BYTES


VARIANTS = {"without-offload": without_offload, "stock-buffer": stock_buffer}


def main(variants: dict[str, Callable[[], None]]) -> int:
    """Be udpxfer on the system that the first word names; returns the exit status."""
    variants[sys.argv[1]]()
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main(VARIANTS))
