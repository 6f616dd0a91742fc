"""UDP sockets of a host, as its kernel lists them."""

from __future__ import annotations

from pathlib import Path

LISTS = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
# Columns of these lists: the local address with its port in hexadecimal digits, and the socket's inode.
ADDRESS, INODE = 1, 9


def sockets_at(port: int) -> set[str]:
    """Inodes of the sockets bound to the port."""
    rows = [row.split() for path in LISTS if path.exists() for row in path.read_text().splitlines()[1:]]
    return {row[INODE] for row in rows if int(row[ADDRESS].rpartition(":")[2], 16) == port}
