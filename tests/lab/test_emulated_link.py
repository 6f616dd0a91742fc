"""What the user-space link does to real datagrams between two namespaces: what was asked against what a probe saw.

A busy machine may delay any datagram, so times have lower bounds only. Counts are binomial; five standard deviations on
either side leave one wrong alarm in 1.7 million. Queues on the way are larger than what is sent, so nothing else loses.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from alpinelab.link import TUNNEL_DEVICE, EmulatedLink, network_namespace

from tests.namespaces import ADDRESSES, DEVICE, MACS, linked_namespaces

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(TUNNEL_DEVICE).exists(), reason="network namespaces and TAP devices need root"
)

COUNT = 3000  # below what a TAP device keeps while nobody reads it
PAYLOAD = bytes(186)
FRAME_BYTES = 14 + 20 + 8 + 8 + len(PAYLOAD)
SIGMAS = 5
SO_RCVBUFFORCE = 33


@dataclass
class Probe:
    """Datagrams from the first end to the second, numbered and timed."""

    link: EmulatedLink
    near: socket.socket
    far: socket.socket

    def send(self, count: int = COUNT) -> list[tuple[int, float]]:
        """Number and delay in seconds of all that arrived, in the order of arrival."""
        times = []
        for number in range(count):
            times.append(time.monotonic())
            self.near.send(number.to_bytes(8, "big") + PAYLOAD)
        arrived = []
        try:
            while True:
                datagram = self.far.recv(2048)
                number = int.from_bytes(datagram[:8], "big")
                arrived.append((number, time.monotonic() - times[number]))
        except TimeoutError:
            return arrived


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with linked_namespaces() as pair:
        for side, other in ((0, 1), (1, 0)):  # known for good: lost ARP is not what is measured
            pair.ip(side, "neigh", "replace", ADDRESSES[other], "lladdr", MACS[other], "dev", DEVICE)
        with network_namespace(pair.path(0)):
            near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with network_namespace(pair.path(1)):
            far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with near, far:
            far.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            far.bind((ADDRESSES[1], 9))
            far.settimeout(1)
            near.connect((ADDRESSES[1], 9))
            yield Probe(pair.link, near, far)


def assert_binomial(found: int, chance: float) -> None:
    assert abs(found - COUNT * chance) <= SIGMAS * math.sqrt(COUNT * chance * (1 - chance))


def test_perfect_link(probe: Probe) -> None:
    probe.link.change({}, {})
    assert [number for number, _ in probe.send()] == list(range(COUNT))


def test_delay_and_jitter(probe: Probe) -> None:
    probe.link.change({"delay_ms": 50, "jitter_ms": 10}, {})
    arrived = probe.send()
    assert [number for number, _ in arrived] == list(range(COUNT))
    assert min(delay for _, delay in arrived) >= 0.04


def test_loss(probe: Probe) -> None:
    probe.link.change({"loss_pct": 10}, {})
    assert_binomial(COUNT - len(probe.send()), 0.1)


def test_loss_is_per_direction(probe: Probe) -> None:
    probe.link.change({}, {"loss_pct": 100})
    assert len(probe.send()) == COUNT


def test_burst_loss(probe: Probe) -> None:
    probe.link.change({"loss_pct": 10, "burst": 5}, {})
    arrived = {number for number, _ in probe.send()}
    lost = [number not in arrived for number in range(COUNT)]
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    # 60 bursts expected; their lengths are geometric with mean 5 and variance 20.
    assert abs(sum(lost) / bursts - 5) <= SIGMAS * math.sqrt(20 / bursts)
    assert abs(sum(lost) / COUNT - 0.1) <= SIGMAS * 0.1 * math.sqrt(2 * 5 / 300)


def test_duplicates(probe: Probe) -> None:
    probe.link.change({"duplicate_pct": 10}, {})
    arrived = [number for number, _ in probe.send()]
    assert set(arrived) == set(range(COUNT))
    assert_binomial(len(arrived) - COUNT, 0.1)


def test_reordering(probe: Probe) -> None:
    probe.link.change({"delay_ms": 200, "reorder_pct": 10}, {})
    arrived = probe.send()
    assert {number for number, _ in arrived} == set(range(COUNT))
    order = [number for number, _ in arrived]
    overtaken = [earlier > later for earlier, later in pairwise(order)]
    assert any(overtaken)
    # Who was not chosen was delayed; a chosen one may come late on a busy machine, so only this side is bounded.
    early = sum(delay < 0.2 for _, delay in arrived)
    assert early <= COUNT * 0.1 + SIGMAS * math.sqrt(COUNT * 0.09)


def test_corrupted_datagrams_fail_their_checksum(probe: Probe) -> None:
    probe.link.change({"corrupt_pct": 10}, {})
    assert_binomial(COUNT - len(probe.send()), 0.1)


def test_rate(probe: Probe) -> None:
    probe.link.change({"rate_mbit": 10, "queue_kb": 10_000}, {})
    started = time.monotonic()
    assert len(probe.send()) == COUNT
    assert time.monotonic() - started >= COUNT * FRAME_BYTES * 8 / 10e6


def test_full_queue_drops(probe: Probe) -> None:
    probe.link.change({"rate_mbit": 1, "queue_kb": 50}, {})
    started = time.monotonic()
    arrived = len(probe.send())
    drained = (time.monotonic() - started) * 125_000
    assert 50_000 // FRAME_BYTES <= arrived <= (50_000 + drained) / FRAME_BYTES + 1
    assert arrived < COUNT
