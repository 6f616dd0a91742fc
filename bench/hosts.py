"""Two hosts joined by one wire: network namespaces in a namespace of their own, gone when the context is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SENDER, RECEIVER = "192.0.2.1", "192.0.2.2"  # RFC 5737: for documentation, nobody's
MTU_BYTES = 1500


class BenchError(Exception):
    """The benchmark cannot run here; the text says what to do."""


class Hosts:
    """The sending and the receiving host, each with a folder in memory."""

    def __init__(self, names: tuple[str, str], folder: Path) -> None:
        self._names = names
        self.folder = folder
        self.source, self.target = folder / "source", folder / "target"
        self.source.mkdir()
        self.target.mkdir()

    def command(self, side: int, arguments: list[str]) -> list[str]:
        """The command line that runs ``arguments`` on the sending (0) or the receiving (1) host."""
        return [tool("ip"), "netns", "exec", self._names[side], *arguments]


def tool(name: str) -> str:
    """Path of a system tool. Raises BenchError when it is not installed."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{name} is not installed")
    return path


def _ip(*arguments: str) -> None:
    subprocess.run([tool("ip"), *arguments], check=True)


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Both hosts on a veth pair, files on a tmpfs. Raises BenchError without root."""
    if os.getuid() != 0:
        raise BenchError("the benchmark makes network namespaces: run it as root (sudo make bench)")
    names = (f"bench-{os.getpid()}-a", f"bench-{os.getpid()}-b")
    folder = Path(tempfile.mkdtemp(prefix="udpxfer-bench-", dir="/dev/shm"))
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "wire0", "netns", names[0], "type", "veth", "peer", "name", "wire0", "netns", names[1])
        for name, address in zip(names, (SENDER, RECEIVER), strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "wire0")
            _ip("-n", name, "link", "set", "wire0", "mtu", str(MTU_BYTES), "up")
            _ip("-n", name, "route", "add", "multicast", "224.0.0.0/4", "dev", "wire0")
        yield Hosts(names, folder)
    finally:
        for name in names:
            subprocess.run([tool("ip"), "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)
