"""What is fuzzed: every parser, both ends' entries for datagrams, and the journal. Each target takes bytes and must not raise."""

from __future__ import annotations

import contextlib
import functools
import math
import random
from collections.abc import Callable
from typing import Any

from udpxfer.core import wire
from udpxfer.core.delivery import Delivery
from udpxfer.core.geometry import HEADER_BYTES, RECORD_BYTES
from udpxfer.core.sealing import ControlChannel
from udpxfer.core.sessions import Phase
from udpxfer.io import store, udp

from tests.simulation.disk import File
from tests.simulation.world import Job, Send, World

PARSERS: tuple[Callable[[bytes], object], ...] = (
    wire.offer_message_untrusted,
    wire.answer_message_untrusted,
    wire.offer_untrusted,
    wire.answer_untrusted,
    wire.refuse_untrusted,
    wire.ack_untrusted,
    wire.digests_untrusted,
    ControlChannel(7, bytes(32), bytes(32)).open_untrusted,
)
RECORDS = 3


def parsers(data: bytes) -> None:
    """Every parser of network bytes: BadDatagram or a value."""
    for parse in PARSERS:
        with contextlib.suppress(wire.BadDatagram):
            parse(data)


class _Opened:
    """A world with one session in the middle of a transfer, built once; what fuzzing changes in it is part of the fun."""

    def __init__(self) -> None:
        self.world = World(seed=1)
        self.world.__enter__()
        self.address = ("10.0.0.1", 10_000)
        content = random.Random(1).randbytes(RECORDS * RECORD_BYTES)
        self.send: Send = self.world.send(Job(content, first_hop_bytes=1200, max_rate=1.0))
        while not self._receiving():
            self.world.clock.step()

    def _receiving(self) -> bool:
        assert self.world.receiver is not None
        sessions = self.world.receiver.sessions._sessions.values()
        return any(session.phase is Phase.RECEIVING and session.job is None for session in sessions)

    def session_of_the_receiver(self) -> Any:
        assert self.world.receiver is not None
        return next(iter(self.world.receiver.sessions._sessions.values()))


@functools.lru_cache(maxsize=1)
def _made() -> _Opened:
    return _Opened()


def _opened() -> _Opened:
    """The world; what earlier inputs have planned for later is forgotten, since time stands still."""
    opened = _made()
    opened.world.clock.clear()
    return opened


def fresh() -> None:
    """Forget what earlier inputs did, so that each input of a corpus stands for itself."""
    if _made.cache_info().currsize:
        _made().world.__exit__()
    _made.cache_clear()


def receiver(data: bytes) -> None:
    """Datagrams from anybody to a receiver with an open session: whatever is not of the session is a counted drop.

    First byte: how the kernel has aggregated them; second: whether the session number is right.
    """
    opened = _opened()
    host = opened.world.receiver
    assert host is not None
    sessions, body = host.sessions, bytearray(data[2:])
    session = opened.session_of_the_receiver()
    if len(data) > 1 and data[1] & 1:
        body[4:8] = session.number.to_bytes(4, "big")
    size = len(body) if not data or not data[0] else 17 + data[0] * 5
    before, bad = sessions.dropped, session.receiver.statistics.bad_records
    stranger = len(data) > 1 and data[1] & 2
    host.on_datagrams([bytes(body[at : at + size]) for at in range(0, len(body), max(size, 1))] or [b""],
                      ("10.9.9.9", 9) if stranger else opened.address)  # fmt: skip
    assert not session.receiver.complete_ranges() or session.receiver.complete_ranges()[0][1] < RECORDS
    assert sessions.dropped > before or not stranger
    assert session.receiver.statistics.bad_records >= bad
    assert opened.world.disk.files().keys().isdisjoint({"file"}), "published something"


def receiver_of_a_peer_with_the_key(data: bytes) -> None:
    """Authentic control messages with any content, and authentic offers, to the receiver."""
    opened = _opened()
    host = opened.world.receiver
    assert host is not None
    session = opened.session_of_the_receiver()
    channel = session.channel
    number = channel._received + 1
    header = wire.CONTROL_HEADER.pack(wire.Kind.CONTROL, channel.session, number)
    sealed = channel._receive.encrypt(bytes(4) + number.to_bytes(8, "big"), data, header)
    host.on_datagrams([header + sealed], opened.address)
    offered = data.ljust(1200 - wire.OFFER_OVERHEAD_BYTES, b"\0")[:60_000]
    initiator = opened.send.delivery._handshake.initiator(opened.world.rng.randbytes(32))
    host.on_datagrams([wire.offer_datagram(initiator.write(offered))], opened.address)
    if session.number not in host.sessions._sessions or session.phase is not Phase.RECEIVING:
        fresh()


def sender(data: bytes) -> None:
    """Authentic messages with any content, and any datagrams, from a receiver that has the key."""
    opened = _opened()
    delivery: Delivery = opened.send.delivery
    now = opened.world.clock.now
    delivery.receive(data, now)
    session = delivery._session
    assert session is not None, "a stranger ended the session"
    channel = session.sender._channel
    number = channel._received + 1
    header = wire.CONTROL_HEADER.pack(wire.Kind.CONTROL, channel.session, number)
    sealed = channel._receive.encrypt(bytes(4) + number.to_bytes(8, "big"), data, header)
    delivery.receive(header + sealed, now)
    delivery.on_time(now)
    delivery.next_segments(now)
    assert math.isfinite(delivery.deadline(now))
    if delivery.ended or delivery._session is not session:
        fresh()


def answers(data: bytes) -> None:
    """What an answer of a receiver with the key may contain: the session it opens must work or fail with a code."""
    opened = _opened()
    world = opened.world
    send = Send(world, Job(bytes(RECORDS * RECORD_BYTES), first_hop_bytes=1200), ("10.0.0.2", 1))
    offer, _, datagram, _ = send.delivery._offers._made[0]
    responder = send.delivery._handshake.responder()
    responder.read(wire.offer_message_untrusted(datagram))
    token = datagram[4 : 4 + wire.TOKEN_BYTES]
    send.delivery.receive(wire.answer_datagram(token, responder.write(data, bytes(range(32)))), world.clock.now)
    send.delivery.on_time(world.clock.now)
    for _ in range(8):
        send.delivery.next_segments(world.clock.now)
    assert offer.file_bytes == RECORDS * RECORD_BYTES
    send.killed = True


def bursts(data: bytes) -> None:
    """What the kernel has aggregated, cut up again: every datagram keeps its bytes, or none is taken."""
    size = int.from_bytes(data[:2], "big")
    whole = data[2:]
    burst = udp._deinterleave(whole, size)
    if burst.datagrams:
        assert len(burst.headers) == burst.datagrams * HEADER_BYTES
        assert len(burst.headers) + len(burst.payload) == len(whole)


def journal(data: bytes) -> None:
    """A journal on disk that anybody may have written."""
    opened = _opened()
    offer = wire.Offer(1200, RECORDS * RECORD_BYTES, bytes(16), "", "other")
    disk = opened.world.disk
    content = store._journal_header(offer) + data[1:] if data[:1] == b"\1" else data
    for suffix, written in (("journal", content), ("part", bytes(offer.file_bytes))):
        file = disk.root.entries[store._hidden_name("other", suffix)] = File()
        file.content, file.links = bytearray(written), 1
    assert opened.world.receiver is not None
    plan = opened.world.receiver.store.plan(offer)
    assert all(0 <= first <= last for first, last in plan.stored)
    assert not plan.published


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (parsers, receiver, receiver_of_a_peer_with_the_key, sender, answers, bursts, journal)
}
