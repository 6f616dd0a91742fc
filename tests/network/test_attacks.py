"""Attacks on the real program: what `docs/security.md` says an attacker cannot do, it cannot."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from udpxfer.core import wire
from udpxfer.core.delivery import Delivery
from udpxfer.core.noise import Handshake
from udpxfer.core.sessions import MAX_HALF_OPEN
from udpxfer.errors import TransferError
from udpxfer.io.source import Source
from udpxfer.io.udp import SenderSocket

from tests.simulation import network

from .conftest import ROOT, Outcome, ReceiverProcess, SendProcess, environment
from .proxy import Proxy

MakeFile = Callable[[str, int], Path]
Send = Callable[..., Outcome]
StartProxy = Callable[..., Proxy]
StartSend = Callable[..., SendProcess]
StartReceiver = Callable[..., ReceiverProcess]

ANSWER_WAIT_S = 0.3
DEADLINE_S = 30.0


class Stranger:
    """Somebody with a socket and bad intentions."""

    def __init__(self, receiver: ReceiverProcess, source: str = "127.0.0.1") -> None:
        host, _, port = receiver.address.rpartition(":")
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((source, 0))
        self._sock.connect((host, int(port)))

    def send(self, datagram: bytes) -> None:
        self._sock.send(datagram)

    def answers(self) -> list[bytes]:
        """All that comes back."""
        self._sock.settimeout(ANSWER_WAIT_S)
        found = []
        try:
            while True:
                found.append(self._sock.recv(65_536))
        except TimeoutError:
            return found

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def stranger(receiver: ReceiverProcess) -> Iterator[Stranger]:
    """A stranger to `receiver`."""
    made = Stranger(receiver)
    yield made
    made.close()


def offer_by(key: bytes, name: str, label: str = "", size: int = 1000) -> bytes:
    """An authentic offer by somebody who has the key and follows no rules."""
    offer = wire.Offer(1200, size, os.urandom(16), label, name)
    initiator = Handshake(key, wire.PROLOGUE).initiator(os.urandom(32))
    return wire.offer_datagram(initiator.write(wire.offer_payload(offer)))


def deliver(receiver: ReceiverProcess, key: Path, source: Path, name: str, label: str = "") -> TransferError | None:
    """Send a file under any name, without the checks of `send`; returns the failure."""
    host, _, port = receiver.address.rpartition(":")
    sock, file = SenderSocket(host, int(port)), Source(str(source))
    offer = wire.Offer(0, file.size, file.source_id, label, name)
    delivery = Delivery(offer, file, key_bytes(key), lambda: 1472, os.urandom, time.monotonic())
    deadline = time.monotonic() + DEADLINE_S
    while not delivery.ended:
        now = time.monotonic()
        assert now < deadline
        if (datagram := sock.receive()) is not None:
            delivery.receive(datagram, now)
        while (message := delivery.next_datagram()) is not None:
            sock.send(message)
        if (segments := delivery.next_segments(now)) is not None:
            sock.send_segments(segments.views, segments.datagram_bytes, segments.single)
        else:
            delivery.on_time(now)
            sock.wait(0.001)
    sock.close()
    file.close()
    return delivery.failure


def key_bytes(path: Path) -> bytes:
    from udpxfer import keys

    return keys.load(str(path))


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_garbage_of_every_kind_and_from_many_addresses_gets_no_answer(
    receiver: ReceiverProcess, rng: random.Random
) -> None:
    strangers = [Stranger(receiver, f"127.0.0.{number}") for number in range(2, 40)]
    for each in strangers:
        for _ in range(20):
            kind = bytes([rng.choice((0x00, 0x01, 0x02, 0x10, 0x20, 0xFF)), rng.choice((0, 1, 2)), 0, 0])
            each.send(
                (kind + rng.randbytes(rng.choice((0, 12, 13, 28, 29, 1196, 1468, 8000))))[
                    : rng.choice((1, 15, 16, 17, 65_000))
                ]
            )
    assert [each.answers() for each in strangers[:3]] == [[], [], []]
    for each in strangers:
        each.close()
    assert list(receiver.into.iterdir()) == []
    assert receiver.stop() == 0
    assert receiver.events("stopped")[0]["dropped_datagrams"] >= 40  # of 760: a full socket buffer may lose some


def test_another_key_gets_no_answer(stranger: Stranger) -> None:
    stranger.send(offer_by(os.urandom(32), "file"))
    assert stranger.answers() == []


def test_a_recorded_transfer_played_again_brings_nothing(
    receiver: ReceiverProcess, start_proxy: StartProxy, send: Send, make_file: MakeFile, stranger: Stranger
) -> None:
    source = make_file("file", 400_000)
    proxy = start_proxy(receiver, network.Path(mtu_bytes=1472))
    assert send(f"{source}={proxy.address}").status == 0
    recorded = list(proxy.seen)
    offers = [datagram for datagram in recorded if datagram[0] == wire.Kind.OFFER]
    assert len(recorded) > 270
    assert offers
    (receiver.into / "file").unlink()
    for datagram in recorded:
        stranger.send(datagram)
    answers = stranger.answers()
    assert all(answer[0] == wire.Kind.ANSWER for answer in answers)
    assert len(answers) <= len(offers)
    assert sum(map(len, answers)) <= sum(map(len, offers))
    receiver.stop()
    receiver.start()
    for datagram in recorded:
        stranger.send(datagram)
    stranger.answers()
    assert list(receiver.into.iterdir()) == []
    assert send(f"{source}={receiver.address}").status == 0
    assert (receiver.into / "file").read_bytes() == source.read_bytes()


def test_forged_messages_to_the_sender_change_nothing(
    receiver: ReceiverProcess, start_proxy: StartProxy, send: Send, make_file: MakeFile, rng: random.Random
) -> None:
    """Each real answer, acknowledgement or DONE is preceded by one with a higher counter and an altered body."""

    def forge(datagram: bytes) -> bytes:
        forged = bytearray(datagram)
        if forged[0] == wire.Kind.CONTROL:
            forged[8:16] = (int.from_bytes(forged[8:16], "big") + rng.randrange(1, 1000)).to_bytes(8, "big")
        forged[rng.randrange(16, len(forged))] ^= 1 << rng.randrange(8)
        return bytes(forged)

    source = make_file("file", 1_000_000)
    proxy = start_proxy(receiver, network.Path(0.002, mtu_bytes=1472), network.Path(0.002))
    proxy.forge = forge
    outcome = send(f"{source}={proxy.address}")
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / "file").read_bytes() == source.read_bytes()
    assert outcome.transfers[0]["sessions"] == 1


@pytest.mark.parametrize(
    ("rate", "seconds"), [(100_000, 4), pytest.param(1e9, 20, marks=pytest.mark.soak, id="as fast as it goes")]
)
def test_a_flood_of_garbage_during_a_transfer(
    rate: float,
    seconds: float,
    receiver: ReceiverProcess,
    start_send: StartSend,
    make_file: MakeFile,
    rng: random.Random,
) -> None:
    host, _, port = receiver.address.rpartition(":")
    source = make_file("file", 3_000_000)
    arguments = [sys.executable, "-m", "tests.network.flood", host, port, str(rate), str(seconds)]
    arguments.append(str(rng.getrandbits(32)))
    flood = subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    outcome = start_send(f"{source}={receiver.address}", rate="1m").end()
    told, _ = flood.communicate(timeout=seconds + DEADLINE_S)
    print(
        f"garbage datagrams sent, per second, from, to: {told}; the transfer took {outcome.transfers[0]['seconds']:.2f} s"
    )
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / "file").read_bytes() == source.read_bytes()
    sent, _, began, ended = map(float, told.split())
    assert sent > 1000
    assert began < outcome.transfers[0]["end"]
    assert ended > outcome.transfers[0]["start"]
    assert receiver.stop() == 0


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../outside", ""), ("a/../../outside", ""), ("/etc/outside", ""), ("..", ""), (".", ""), ("a\0b", ""),
        (".udpxfer-x.part", ""), ("file", ".."), ("file", "../x"), ("file", "/tmp"), ("file", "a/.."), ("file", "a/b/c"),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(
    name: str, label: str, receiver: ReceiverProcess, key: Path, make_file: MakeFile, tmp_path: Path
) -> None:
    source = make_file("source", 1000)
    before = tree(tmp_path)
    failure = deliver(receiver, key, source, name, label)
    assert failure is not None
    assert failure.code.label in ("bad_name", "bad_label")
    assert {path for path in tree(tmp_path) if not path.endswith("/log")} == {
        p for p in before if not p.endswith("/log")
    }


def test_symbolic_links_in_the_receivers_directory_lead_nowhere(
    receiver: ReceiverProcess, key: Path, make_file: MakeFile, tmp_path: Path
) -> None:
    """Somebody else who may write there has laid links under the names that the receiver will use."""
    source, outside = make_file("source", 100_000), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    (receiver.into / "label").symlink_to(outside)
    (receiver.into / "final").symlink_to(outside / "precious")
    failures = [deliver(receiver, key, source, name, label) for name, label in (("file", "label"), ("final", ""))]
    assert [failure.code.label for failure in failures if failure] == ["store_failed", "file_exists"]
    for suffix in ("part", "journal"):
        from udpxfer.io import store

        (receiver.into / store._hidden_name("file", suffix)).symlink_to(outside / "precious")
    assert deliver(receiver, key, source, "file") is None
    assert (receiver.into / "file").read_bytes() == source.read_bytes()
    assert not (receiver.into / "file").is_symlink()
    assert tree(outside) == {"precious": b"precious"}


def test_a_flood_of_offers_holds_little_and_stops_nobody(
    receiver: ReceiverProcess, key: Path, send: Send, make_file: MakeFile, stranger: Stranger
) -> None:
    """Authentic offers, as somebody may have recorded them, that nobody ever confirms."""
    secret = key_bytes(key)
    before = resident_bytes(receiver)
    for index in range(40 * MAX_HALF_OPEN):
        stranger.send(offer_by(secret, f"file{index}", size=10**6))
    source = make_file("file", 500_000)
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 0, outcome.errors
    assert resident_bytes(receiver) - before < 40_000_000
    assert [path.name for path in receiver.into.iterdir() if path.name.startswith("file")] == ["file"]


def resident_bytes(receiver: ReceiverProcess) -> int:
    status = Path(f"/proc/{receiver.process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])
