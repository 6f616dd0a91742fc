"""Two hosts joined by one wire or by an emulated link: network namespaces that are gone when the context is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from alpinelab.link import emulated_link
from alpinelab.system import LabError

if TYPE_CHECKING:
    from .networks import Network

SENDER, RECEIVER = "192.0.2.1", "192.0.2.2"  # RFC 5737: for documentation, nobody's
MTU_BYTES = 1500
DEVICE = "wire0"


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
def two_hosts(network: Network | None = None) -> Iterator[Hosts]:
    """Both hosts on a veth pair or on an emulated link, files on a tmpfs. Raises BenchError without root."""
    if os.getuid() != 0:
        raise BenchError("the benchmark makes network namespaces: run it as root (sudo make bench)")
    names = (f"bench-{os.getpid()}-a", f"bench-{os.getpid()}-b")
    folder = Path(tempfile.mkdtemp(prefix="udpxfer-bench-", dir="/dev/shm"))
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        with _wire(names, network):
            for name, address in zip(names, (SENDER, RECEIVER), strict=True):
                _ip("-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
                _ip("-n", name, "link", "set", DEVICE, "mtu", str(MTU_BYTES), "up")
                _ip("-n", name, "route", "add", "multicast", "224.0.0.0/4", "dev", DEVICE)
            yield Hosts(names, folder)
    except LabError as error:
        raise BenchError(str(error)) from error
    finally:
        for name in names:
            subprocess.run([tool("ip"), "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _wire(names: tuple[str, str], network: Network | None) -> Iterator[None]:
    if network is None:
        _ip("link", "add", DEVICE, "netns", names[0], "type", "veth", "peer", "name", DEVICE, "netns", names[1])
        yield
        return
    ends = [(f"/run/netns/{name}", DEVICE) for name in names]
    with emulated_link(ends[0], ends[1], *network.impairments()):
        yield
