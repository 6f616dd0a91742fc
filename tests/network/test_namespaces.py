"""The real program between two network namespaces, over an emulated link that treats every packet alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.namespaces import ADDRESSES, DEVICE, Pair, linked_namespaces

from .conftest import Outcome, ReceiverProcess, SendProcess, System

MakeFile = Callable[[str, int], Path]
StartSend = Callable[..., SendProcess]
StartReceiver = Callable[..., ReceiverProcess]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="namespaces and TAP devices need root"
)

IMPAIRMENTS = {
    "5 % loss": {"delay_ms": 5.0, "loss_pct": 5.0},
    "20 % loss": {"delay_ms": 5.0, "loss_pct": 20.0},
    "a slow link with a short queue": {"delay_ms": 10.0, "rate_mbit": 20.0, "queue_kb": 30.0},
    "altered on the way": {"delay_ms": 5.0, "corrupt_pct": 5.0},
}
LONG_IMPAIRMENTS = {
    "1 % loss": {"delay_ms": 25.0, "loss_pct": 1.0},
    "5 % loss": {"delay_ms": 25.0, "loss_pct": 5.0},
    "10 % loss": {"delay_ms": 25.0, "loss_pct": 10.0},
    "20 % loss": {"delay_ms": 25.0, "loss_pct": 20.0},
    "bursts of loss": {"delay_ms": 25.0, "loss_pct": 10.0, "burst": 10.0},
    "reordering": {"delay_ms": 20.0, "reorder_pct": 20.0},
    "duplicates": {"delay_ms": 5.0, "duplicate_pct": 30.0},
    "everything": {
        "delay_ms": 20.0, "jitter_ms": 5.0, "loss_pct": 3.0, "burst": 3.0, "reorder_pct": 3.0,
        "duplicate_pct": 3.0, "corrupt_pct": 1.0, "rate_mbit": 50.0, "queue_kb": 200.0,
    },
}  # fmt: skip


class Wire:
    """Two hosts and the link between them."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.sender, self.receiver = (System(prefix=("ip", "netns", "exec", name)) for name in pair.names)

    def impair(self, impairment: dict[str, float]) -> None:
        self._pair.link.change(impairment, impairment)

    def set_mtu_at_the_sender(self, size: int) -> None:
        self._pair.ip(0, "link", "set", DEVICE, "mtu", str(size))


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Two hosts of this test's own; they go with it."""
    with linked_namespaces() as pair:
        yield Wire(pair)


@pytest.fixture
def receiver(wire: Wire, start_receiver: StartReceiver) -> ReceiverProcess:
    """A receiver at the far end."""
    return start_receiver(bind=f"{ADDRESSES[1]}:0", system=wire.receiver)


def assert_arrives(outcome: Outcome, source: Path, receiver: ReceiverProcess) -> None:
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / source.name).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", IMPAIRMENTS)
def test_a_bad_link(
    name: str, wire: Wire, receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 1_500_000)
    wire.impair(IMPAIRMENTS[name])
    outcome = start_send(f"{source}={receiver.address}", system=wire.sender).end()
    assert_arrives(outcome, source, receiver)
    # The link's own size, or the next one when offers of the first were lost again and again.
    assert outcome.transfers[0]["datagram_bytes"] in (1472, 1452)
    assert outcome.transfers[0]["segmentation"] == "on"


@pytest.mark.soak
@pytest.mark.parametrize("name", LONG_IMPAIRMENTS)
def test_a_bad_link_for_long(
    name: str, wire: Wire, receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 20_000_000)
    wire.impair(LONG_IMPAIRMENTS[name])
    assert_arrives(start_send(f"{source}={receiver.address}", system=wire.sender).end(300), source, receiver)


def test_the_first_hop_takes_less_from_now_on(
    wire: Wire, receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 3_000_000)
    sending = start_send(f"{source}={receiver.address}", system=wire.sender, rate="1m")
    receiver.wait_for_bytes(500_000)
    wire.set_mtu_at_the_sender(1400)
    outcome = sending.end()
    assert_arrives(outcome, source, receiver)
    assert outcome.transfers[0]["datagram_bytes"] == 1372
