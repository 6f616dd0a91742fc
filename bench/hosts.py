"""Two hosts joined by one wire or by an emulated link: network namespaces that are gone when the context is left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from alpinelab.link import emulated_link
from alpinelab.system import LabError

from .processes import POLL_S, Process, Usage
from .programs import BenchError, tool

if TYPE_CHECKING:
    from .networks import Network

SENDER, RECEIVER = "192.0.2.1", "192.0.2.2"  # RFC 5737: for documentation, nobody's
MTU_BYTES = 1500
DEVICE = "wire0"
MEMORY = "/dev/shm"  # noqa: S108 a tmpfs; the folder in it has a name of its own
NAMESPACES = Path("/run/netns")
START_DEADLINE_S = 20.0
COPY_LIMIT_S = 120.0


class Hosts:
    """The sending (side 0) and the receiving host (side 1), each with a folder in memory.

    ``usage`` sums up what their programs used, ``limit_s`` is what a client may take, ``rate_mbit`` the link's rate, if any.
    """

    def __init__(self, names: tuple[str, str], folder: Path, rate_mbit: float | None) -> None:
        self._names = names
        self.rate_mbit = rate_mbit
        self.folder = folder
        self.source, self.target = folder / "source", folder / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.usage = Usage()
        self.limit_s = COPY_LIMIT_S

    def start(self, side: int, command: list[str], env: dict[str, str] | None = None) -> Process:
        """Start a program on a host."""
        return Process([tool("ip"), "netns", "exec", self._names[side]], command, self.usage, env)

    def run(self, side: int, command: list[str], env: dict[str, str] | None = None) -> float:
        """Run a client to its end; returns its seconds. Raises BenchError when it fails or takes too long."""
        started = time.monotonic()
        self.start(side, command, env).wait(self.limit_s)
        return time.monotonic() - started

    @contextlib.contextmanager
    def service(
        self, command: list[str], protocol: str, port: int, env: dict[str, str] | None = None
    ) -> Iterator[Process]:
        """A service on the receiving host, listening at a port, while the context lasts."""
        process = self.start(1, command, env)
        try:
            deadline = time.monotonic() + START_DEADLINE_S
            while not self._listens(protocol, port):
                if process.ended() or time.monotonic() > deadline:
                    raise BenchError(f"{process.name} does not start: {process.errors()}")
                time.sleep(POLL_S)
            yield process
        finally:
            process.stop()

    def _listens(self, protocol: str, port: int) -> bool:
        tables = [f"/proc/net/{protocol}", f"/proc/net/{protocol}6"]
        look = [tool("ip"), "netns", "exec", self._names[1], "cat", *tables]
        listing = subprocess.run(look, capture_output=True, text=True, check=True).stdout
        state = {"tcp": "0A", "udp": "07"}[protocol]
        return re.search(rf":{port:04X} [0-9A-F]+:0000 {state}", listing) is not None


def _ip(*arguments: str) -> None:
    subprocess.run([tool("ip"), *arguments], check=True)


@contextlib.contextmanager
def two_hosts(network: Network | None = None) -> Iterator[Hosts]:
    """Both hosts on a veth pair or on an emulated link, files on a tmpfs. Raises BenchError without root."""
    if os.getuid() != 0:
        raise BenchError("the benchmark makes network namespaces: run it as root (sudo make bench)")
    sweep()
    names = (f"bench-{os.getpid()}-a", f"bench-{os.getpid()}-b")
    folder = Path(tempfile.mkdtemp(prefix=f"udpxfer-bench-{os.getpid()}-", dir=MEMORY))
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        with _wire(names, network):
            for name, address in zip(names, (SENDER, RECEIVER), strict=True):
                _ip("-n", name, "address", "add", f"{address}/24", "dev", DEVICE)
                _ip("-n", name, "link", "set", DEVICE, "mtu", str(MTU_BYTES), "up")
                _ip("-n", name, "route", "add", "multicast", "224.0.0.0/4", "dev", DEVICE)
            yield Hosts(names, folder, network.rate_mbit if network else None)
    except LabError as error:
        raise BenchError(str(error)) from error
    finally:
        for name in names:
            _remove_namespace(name)
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what benchmarks that were killed have left: namespaces with what runs there, folders in memory."""
    for left in (*NAMESPACES.glob("bench-*-*"), *Path(MEMORY).glob("udpxfer-bench-*-*")):
        owner = left.name.split("-")[-2]
        if not owner.isdecimal() or Path("/proc", owner).exists():
            continue
        if left.parent == NAMESPACES:
            _remove_namespace(left.name)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _remove_namespace(name: str) -> None:
    """End what still runs in a network namespace, which would keep it alive, and delete it; nothing when there is none."""
    listed = subprocess.run([tool("ip"), "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in map(int, listed.stdout.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run([tool("ip"), "netns", "delete", name], capture_output=True, check=False)


@contextlib.contextmanager
def _wire(names: tuple[str, str], network: Network | None) -> Iterator[None]:
    if network is None:
        _ip("link", "add", DEVICE, "netns", names[0], "type", "veth", "peer", "name", DEVICE, "netns", names[1])
        yield
        return
    ends = [(f"/run/netns/{name}", DEVICE) for name in names]
    with emulated_link(ends[0], ends[1], *network.impairments()):
        yield


if __name__ == "__main__":  # make down
    sweep()
