"""Impaired links of the switch: what lies between a host's port and the bridge, and three ways to impair there.

A perfect link: the port is in br0. An impaired one: port and device hN are in a bridge bN of their own, device sN is in
br0, and what goes from sN to hN or back is impaired. Everything is in the switch's namespace, so hosts cannot
change it, and a host that reboots finds its link as it was.
"""

from __future__ import annotations

import abc
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from .config import Link
from .link import DEFAULT_QUEUE_KB, Links
from .system import SEARCH_PATH, LabError, require, run

DIRECTIONS = ("to_host", "from_host")
# Frames that netem may hold: a second at 1 Gbit/s.
NETEM_LIMIT_FRAMES = 100_000
# tbf sends what came in up to this time at once; shorter needs a finer clock than some kernels have.
TBF_BURST_S = 0.004
LONGEST_FRAME_BYTES = 1522
GSO_MAX_SEGMENTS = 65535  # the kernel's own default for a device
CARRIER_TIMEOUT_S, CARRIER_POLL_S = 3.0, 0.02
PROBE_TAP = "import fcntl,struct;from alpinelab.link import _open_tap;_open_tap(None,'probe')"


class UserSpace:
    """By this program (link.py): every kind of impairment, exact for each frame; about 0.5 Gbit/s."""

    name = "user space"
    supported: frozenset[str] | None = None

    def __init__(self) -> None:
        self._links = Links()
        self._known: dict[int, Link] = {}

    @staticmethod
    def probe() -> None:
        """Raise LabError when it cannot work here."""
        run(
            "unshare",
            "--net",
            "env",
            f"PYTHONPATH={Path(__file__).parents[1]}",
            sys.executable,
            "-c",
            PROBE_TAP,
            called="/dev/net/tun",
        )

    def put(self, number: int, link: Link) -> None:
        """Make or change the impaired pair of devices sN and hN."""
        self._known[number] = link
        ends = [[None, f"s{number}"], [None, f"h{number}"]]
        self._links.set({str(number): {"ends": ends, "impairments": [link[way] for way in DIRECTIONS]}})

    def remove(self, number: int) -> None:
        """Remove the pair."""
        self._known.pop(number, None)
        self._links.set({str(number): None})

    def revive(self) -> list[int]:
        """After the process has ended: make all pairs again and tell which."""
        if not self._links.ended():
            return []
        self._links = Links()
        for number, link in self._known.items():
            self.put(number, link)
        return list(self._known)


class _Kernel(abc.ABC):
    """By the kernel, on a veth pair."""

    name = ""
    supported: frozenset[str] | None = None

    def put(self, number: int, link: Link) -> None:
        """Make or change the impaired pair of devices sN and hN."""
        switch, host = f"s{number}", f"h{number}"
        if not _exists(switch):
            run("ip", "link", "add", switch, "type", "veth", "peer", "name", host)
        self._impair(switch, host, link["to_host"])
        self._impair(host, switch, link["from_host"])

    def remove(self, number: int) -> None:
        """Remove the pair."""
        run("ip", "link", "del", f"s{number}")

    def revive(self) -> list[int]:
        """Nothing in the kernel ends by itself."""
        return []

    @abc.abstractmethod
    def _impair(self, source: str, sink: str, impairment: dict[str, float]) -> None:
        """Impair what goes from ``source`` to ``sink``."""


class Netem(_Kernel):
    """By the kernel's netem, with tbf behind it for the rate."""

    name = "netem"

    @staticmethod
    def probe() -> None:
        """Raise LabError when it cannot work here."""
        run("unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "1%", called="tc netem")

    def _impair(self, source: str, sink: str, impairment: dict[str, float]) -> None:
        del sink
        run("tc", "qdisc", "replace", "dev", source, "root", "handle", "1:", "netem", *netem_words(impairment))
        rate = tbf_words(impairment) or ["pfifo", "limit", str(NETEM_LIMIT_FRAMES)]
        run("tc", "qdisc", "replace", "dev", source, "parent", "1:1", "handle", "10:", *rate)


class Nftables(_Kernel):
    """By nftables (random loss) and tbf (rate with queue), for kernels with neither netem nor TAP devices."""

    name = "nftables"
    supported = frozenset({"loss_pct", "rate_mbit", "queue_kb"})

    @staticmethod
    def probe() -> None:
        """Raise LabError when it cannot work here."""
        run("unshare", "--net", "nft", nft_words("lo", {"loss_pct": 1}), called="nft with numgen")

    def _impair(self, source: str, sink: str, impairment: dict[str, float]) -> None:
        run("nft", nft_words(sink, impairment))
        if words := tbf_words(impairment):
            run("tc", "qdisc", "replace", "dev", source, "root", "handle", "10:", *words)
        else:
            run("tc", "qdisc", "replace", "dev", source, "root", "handle", "11:", "pfifo")


MECHANISMS = (Netem, UserSpace, Nftables)
Mechanism = UserSpace | Netem | Nftables


def choose(wanted: str) -> Mechanism:
    """The first way that works here, or the wanted one. Raises LabError with the reason of each that does not."""
    reasons = []
    for mechanism in MECHANISMS:
        if wanted not in ("auto", mechanism.name):
            continue
        try:
            mechanism.probe()
        except LabError as error:
            reasons.append(f"{mechanism.name}: {error}")
        else:
            return mechanism()
    raise LabError(
        "links cannot be impaired on this machine; load a kernel module (modprobe sch_netem, or modprobe tun) or run as root:\n"
        + "\n".join(reasons)
    )


def refuse_unsupported(mechanism: Mechanism, name: str, link: Link) -> None:
    """Raise LabError for what the mechanism cannot do: nothing is ignored."""
    if mechanism.supported is not None and (
        wrong := sorted({key for way in DIRECTIONS for key, value in link[way].items() if value} - mechanism.supported)
    ):
        raise LabError(
            f"{name}: {', '.join(wrong)} cannot be done by {mechanism.name}, the only way on this machine (it can: "
            f"{', '.join(sorted(mechanism.supported))}); load a kernel module (modprobe sch_netem, or modprobe tun) or run as root"
        )


def netem_words(impairment: dict[str, float]) -> list[str]:
    """tc-netem(8)'s words for all but the rate. Bursts: Gilbert's model, whose bad state loses everything.

    Corruption is named also when there is none: a change of netem keeps the one that was, unlike all else.
    """
    get = impairment.get
    words = ["limit", str(NETEM_LIMIT_FRAMES)]
    if get("delay_ms"):
        words += ["delay", f"{get('delay_ms'):g}ms", f"{get('jitter_ms', 0):g}ms"]
    loss, burst = get("loss_pct", 0) / 100, get("burst", 1)
    if loss and burst > 1 and loss < 1:
        words += ["loss", "gemodel", f"{100 * loss / ((1 - loss) * burst):g}%", f"{100 / burst:g}%"]
    elif loss:
        words += ["loss", "random", f"{100 * loss:g}%"]
    if get("duplicate_pct"):
        words += ["duplicate", f"{get('duplicate_pct'):g}%"]
    words += ["corrupt", f"{get('corrupt_pct', 0):g}%"]
    if get("reorder_pct"):
        words += ["reorder", f"{get('reorder_pct'):g}%"]
    return words


def tbf_words(impairment: dict[str, float]) -> list[str]:
    """tc-tbf(8)'s words for the rate; none without one."""
    if not (rate := impairment.get("rate_mbit")):
        return []
    burst = max(2 * LONGEST_FRAME_BYTES, int(rate * 125_000 * TBF_BURST_S))
    limit = int(impairment.get("queue_kb", DEFAULT_QUEUE_KB) * 1000)
    return ["tbf", "rate", f"{rate:g}mbit", "burst", str(burst), "limit", str(limit)]


def nft_words(sink: str, impairment: dict[str, float]) -> str:
    """nft(8)'s commands for the loss of what comes in at a device; they take the place of earlier ones."""
    table = f"netdev {sink}"
    rule = f"numgen random mod 1000000 < {round(impairment.get('loss_pct', 0) * 10_000)} drop"
    chain = f"chain {table} loss {{ type filter hook ingress device {sink} priority 0; }}"
    commands = [f"add table {table}", f"delete table {table}", f"add table {table}"]
    if impairment.get("loss_pct"):
        commands += [f"add {chain}", f"add rule {table} loss {rule}"]
    return "; ".join(commands)


class Ports:
    """The switch's ports and the links behind them."""

    def __init__(self, names: list[str], wanted: str) -> None:
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self._wanted = wanted
        self._mechanism: Mechanism | None = None
        self._impaired: dict[str, Link] = {}
        self._down: set[str] = set()
        self._holders: dict[str, int] = {}

    @property
    def mechanism(self) -> str | None:
        """How links are impaired; None while none has been."""
        return self._mechanism.name if self._mechanism else None

    def state(self, name: str) -> dict[str, object]:
        """Of one link, as plain data."""
        perfect: Link = {way: {} for way in DIRECTIONS}
        return {"link": "down" if name in self._down else "up", **self._impaired.get(name, perfect)}

    def plug(self, name: str, mac: str, pid: int) -> None:
        """Give the network namespace of a process its cable (eth0), with the state that the link had before."""
        # After a reboot the kernel may still be taking the old network namespace down.
        with contextlib.suppress(LabError):
            run("ip", "link", "del", name)
        self._holders[name] = pid
        ip(f"link add {name} type veth peer name eth0 address {mac} netns {pid}")
        self._attach(name)
        if self._impaired:
            self._limit_batches(name)

    def set_link(self, name: str, up: bool, check: bool) -> bool:
        """Pull or plug a cable (not with `check`); true when that changes something."""
        if (name in self._down) != up:
            return False
        if check:
            return True
        (self._down.discard if up else self._down.add)(name)
        self._attach(name)
        if up and name in self._holders:
            self._await_carrier(name)
        return True

    def impair(self, links: dict[str, Link], check: bool) -> list[str]:
        """Let these links be as told (not with `check`); the names of those that were not. All or, with LabError, none."""
        changed = {}
        for name, link in links.items():
            wanted = {way: {key: value for key, value in link[way].items() if value} for way in DIRECTIONS}
            if wanted != self._impaired.get(name, {way: {} for way in DIRECTIONS}):
                changed[name] = wanted
        if any(any(link.values()) for link in changed.values()) and self._mechanism is None:
            self._mechanism = choose(self._wanted)
        for name, link in changed.items():
            assert self._mechanism is not None
            refuse_unsupported(self._mechanism, name, link)
        for name, link in () if check else changed.items():
            self._put(name, link) if any(link.values()) else self._clear(name)
        return list(changed)

    def revive(self) -> None:
        """Mend what ended by itself."""
        if self._mechanism is not None:
            numbers = self._mechanism.revive()
            for name in [name for name in self._impaired if self._numbers[name] in numbers]:
                self._connect(name)

    def _put(self, name: str, link: Link) -> None:
        assert self._mechanism is not None
        new = name not in self._impaired
        self._mechanism.put(self._numbers[name], link)
        self._impaired[name] = link
        if new:
            self._connect(name)
            self._limit_batches(*self._holders)

    def _clear(self, name: str) -> None:
        assert self._mechanism is not None
        del self._impaired[name]
        self._attach(name)
        self._mechanism.remove(self._numbers[name])
        ip(f"link del b{self._numbers[name]}")
        self._limit_batches(*self._holders)

    def _connect(self, name: str) -> None:
        """Put the impaired pair between the port and br0."""
        number = self._numbers[name]
        if not _exists(f"b{number}"):
            ip(f"link add b{number} type bridge", f"link set b{number} up")
        ip(f"link set s{number} master br0 up", f"link set h{number} master b{number} up")
        self._attach(name)

    def _attach(self, name: str) -> None:
        bridge = f"b{self._numbers[name]}" if name in self._impaired else "br0"
        ip(f"link set {name} master {bridge} {'down' if name in self._down else 'up'}")

    def _await_carrier(self, name: str) -> None:
        """Neither end of a veth pair passes frames until the kernel's link watch has seen the carrier: up to a second."""
        deadline = time.monotonic() + CARRIER_TIMEOUT_S
        port = ("ip", "-o", "link", "show", name)
        host = ("nsenter", f"--net=/proc/{self._holders[name]}/ns/net", "ip", "-o", "link", "show", "eth0")
        with contextlib.suppress(LabError):  # a host that is off has no end
            for state in (port, host):
                while " state UP " not in run(*state) and time.monotonic() < deadline:
                    time.sleep(CARRIER_POLL_S)
        # An address that was asked for in vain meanwhile would count as unreachable for some seconds more.
        run("ip", "neigh", "flush", "dev", "br0")

    def _limit_batches(self, *names: str) -> None:
        """Let hosts send packet by packet while any link is impaired: the kernel's rules would lose or delay a batch (GSO) as one."""
        if not isinstance(self._mechanism, _Kernel):
            return
        most = 1 if self._impaired else GSO_MAX_SEGMENTS
        for name in names:
            inside = f"--net=/proc/{self._holders[name]}/ns/net"
            with contextlib.suppress(LabError):  # a host that is off has no end
                run("nsenter", inside, "ip", "link", "set", "eth0", "gso_max_segs", str(most))


def _exists(device: str) -> bool:
    """Asked of the kernel: /sys shows the devices of the namespace it was mounted in."""
    return device in [name for _, name in socket.if_nameindex()]


def ip(*orders: str) -> None:
    """Give orders to iproute2."""
    run("ip", "-batch", "-", stdin="\n".join(orders) + "\n")


def start_capture(device: str, file: Path) -> subprocess.Popen[str]:
    """Record a device's frames into a pcap file (tcpdump); returns when it listens. Raises LabError."""
    require("tcpdump")
    command = ["tcpdump", "--interface", device, "--immediate-mode", "-U", "-Z", "root", "-w", str(file)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "PATH": SEARCH_PATH}
    )
    assert process.stderr is not None
    said = ""
    while line := process.stderr.readline():
        said += line
        if "listening on" in line:
            return process
    process.wait()
    raise LabError(f"tcpdump ended with status {process.returncode}: {said.strip()}")
