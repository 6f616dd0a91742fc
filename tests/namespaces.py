"""Two hosts for a test: network namespaces joined by an emulated link, gone with the context."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from alpinelab.link import EmulatedLink, emulated_link

DEVICE = "wire0"
ADDRESSES = ("192.0.2.1", "192.0.2.2")  # RFC 5737: for documentation, nobody's
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")


@dataclass(frozen=True)
class Pair:
    """Names of the namespaces, whose addresses are ADDRESSES, and the link between them."""

    names: tuple[str, str]
    link: EmulatedLink

    def ip(self, side: int, *arguments: str) -> None:
        """Run iproute2 on a host."""
        subprocess.run(["ip", "-n", self.names[side], *arguments], check=True)

    def path(self, side: int) -> str:
        """The file that stands for a host's network."""
        return namespace_file(self.names[side])


def namespace_file(name: str) -> str:
    return f"/run/netns/{name}"


@contextlib.contextmanager
def linked_namespaces() -> Iterator[Pair]:
    """Both hosts and a perfect link."""
    names = (f"test-{os.getpid()}-a", f"test-{os.getpid()}-b")
    with contextlib.ExitStack() as undo:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            undo.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
        ends = [(namespace_file(name), DEVICE) for name in names]
        pair = Pair(names, undo.enter_context(emulated_link(ends[0], ends[1], {}, {})))
        for side, (address, mac) in enumerate(zip(ADDRESSES, MACS, strict=True)):
            pair.ip(side, "address", "add", f"{address}/24", "dev", DEVICE)
            pair.ip(side, "link", "set", DEVICE, "address", mac, "up")
        yield pair
