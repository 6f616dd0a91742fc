"""A virtual-time network for the sans-I/O core: both ends of a session, and links that lose, delay, repeat and alter.

Nothing here waits: the clock jumps to the next event, so that hours of protocol time take milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import itertools
import random
from collections.abc import Callable

from udpxfer.core import wire
from udpxfer.core.congestion import Congestion
from udpxfer.core.geometry import HEADER_BYTES, RECORD_BYTES, Geometry
from udpxfer.core.receiver import BufferPool, Burst, Receiver
from udpxfer.core.recovery import RoundTrip
from udpxfer.core.sealing import ControlChannel, RecordCipher
from udpxfer.core.sender import Sender, State

SESSION = 7
WINDOW_RECORDS = 64
RECEIVE_BUFFER_BYTES = 425_984
SILENCE_S = 30.0


@dataclasses.dataclass(frozen=True)
class Path:
    """What one direction does to datagrams: seconds, shares of one, and bytes per second (0: unlimited)."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0
    queue_bytes: int = 100_000


class Link:
    """One direction of the network."""

    def __init__(self, path: Path, clock: Clock, rng: random.Random, deliver: Callable[[bytes], None]) -> None:
        self._path, self._clock, self._rng, self._deliver = path, clock, rng, deliver
        self._free_at = 0.0
        self.sent = 0

    def send(self, datagram: bytes) -> None:
        """Put a datagram on the link."""
        path, rng, now = self._path, self._rng, self._clock.now
        self.sent += 1
        if rng.random() < path.loss:
            return
        leave = now
        if path.rate:
            if (self._free_at - now) * path.rate > path.queue_bytes:
                return
            self._free_at = leave = max(self._free_at, now) + len(datagram) / path.rate
        for _ in range(1 + (rng.random() < path.duplicate)):
            copy = datagram
            if rng.random() < path.corrupt:
                altered = bytearray(datagram)
                altered[rng.randrange(len(altered))] ^= 1 << rng.randrange(8)
                copy = bytes(altered)
            self._clock.at(leave + path.delay_s + rng.random() * path.jitter_s, functools.partial(self._deliver, copy))


class Clock:
    """Virtual time and what happens at which."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do ``action`` at ``time``."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def next_time(self) -> float:
        """When the next event is; infinity when there is none."""
        return self._events[0][0] if self._events else float("inf")

    def step(self) -> None:
        """Let the next event happen."""
        time, _, action = heapq.heappop(self._events)
        self.now = max(self.now, time)
        action()


class Transfer:
    """One file from a sender core to a receiver core over two paths."""

    def __init__(self, content: bytes, datagram_bytes: int, there: Path, back: Path, seed: int) -> None:
        rng = random.Random(seed)
        self.clock = Clock()
        self._content = content
        self.geometry = Geometry(len(content), datagram_bytes)
        keys = [rng.randbytes(32) for _ in range(3)]
        self._cipher = RecordCipher(keys[0])
        self._sealed: dict[int, bytes] = {}
        accept = wire.Accept(SESSION, RECEIVE_BUFFER_BYTES, WINDOW_RECORDS, ())
        rtt = there.delay_s + back.delay_s + 0.001
        congestion = Congestion(0.0, rtt, datagram_bytes, RECEIVE_BUFFER_BYTES)
        channel = ControlChannel(SESSION, keys[1], keys[2])
        self.sender = Sender(self.geometry, accept, channel, congestion, RoundTrip(rtt), 0.0, SILENCE_S)
        self.receiver = Receiver(self.geometry, RecordCipher(keys[0]), BufferPool(WINDOW_RECORDS), WINDOW_RECORDS)
        self._receiver_channel = ControlChannel(SESSION, keys[2], keys[1])
        self.received: dict[int, bytes] = {}
        self.published: bytes | None = None
        self._finished = False
        self._confirmed = False
        self.swallow_segmented = False
        self._there = Link(there, self.clock, rng, self._at_receiver)
        self._back = Link(back, self.clock, rng, lambda datagram: self.sender.receive(datagram, self.clock.now))
        self.bad_datagrams = 0

    def run(self, deadline_s: float) -> None:
        """Run until the sender has ended, at most ``deadline_s`` of virtual time."""
        clock, sender = self.clock, self.sender
        while sender.state in (State.SENDING, State.WAITING) and clock.now < deadline_s:
            if self._transmit():
                continue
            sender.on_time(clock.now)
            if self._transmit():
                continue
            wake = min(sender.deadline(clock.now), self.receiver.ack_at or float("inf"))
            if clock.next_time() <= wake:
                clock.step()
            else:
                clock.now = max(wake, clock.now + 1e-6)
            if self.receiver.ack_at is not None and self.receiver.ack_at <= clock.now:
                self._acknowledge()

    def _transmit(self) -> bool:
        sent = False
        while (control := self.sender.next_control()) is not None:
            self._there.send(control)
            sent = True
        send = self.sender.next_send(self.clock.now)
        if send is None:
            return sent
        sealed = self._seal(send.record)
        swallowed = self.swallow_segmented and not send.probe and not self.sender.segments_vanish
        for segment in range(self.geometry.segments_of(send.record)):
            if send.mask >> segment & 1 and not swallowed:
                start, end = self.geometry.segment_span(send.record, segment)
                header = wire.DATA_HEADER.pack(
                    wire.Kind.DATA, segment, send.flags, 0, SESSION, send.record, send.number
                )
                self._there.send(header + sealed[start:end])
        if len(self._sealed) == self.geometry.records and not self._finished:
            self._finished = True
            self.sender.source_verified()
        return True

    def _seal(self, record: int) -> bytes:
        if record not in self._sealed:
            start = record * RECORD_BYTES
            buffer = memoryview(bytearray(self.geometry.sealed_bytes(record)))
            self._cipher.seal(record, self._content[start : start + self.geometry.plain_bytes(record)], buffer)
            self._sealed[record] = bytes(buffer)
        return self._sealed[record]

    def _at_receiver(self, datagram: bytes) -> None:
        try:
            if (
                datagram[0] == wire.Kind.DATA
                and len(datagram) > HEADER_BYTES
                and datagram[4:8] == SESSION.to_bytes(4, "big")
            ):
                view = memoryview(datagram)
                burst = Burst(1, view[:HEADER_BYTES], view[HEADER_BYTES:], len(datagram) - HEADER_BYTES)
                self._store(self.receiver.receive_untrusted(burst, self.clock.now))
            else:
                self._control(datagram)
        except wire.BadDatagram:
            self.bad_datagrams += 1

    def _store(self, completed: tuple[int, memoryview] | None) -> None:
        if completed is not None:
            record, plain = completed
            assert record not in self.received, "a record completes once"
            self.received[record] = bytes(plain)
            self._publish()

    def _control(self, datagram: bytes) -> None:
        control, _ = self._receiver_channel.open_untrusted(datagram)
        self._confirmed |= control is wire.Control.FINISH
        if not self._publish():
            self._acknowledge()

    def _publish(self) -> bool:
        if not (self._confirmed and self.receiver.complete):
            return False
        self.published = b"".join(self.received[record] for record in range(self.geometry.records))
        self._back.send(self._receiver_channel.seal(wire.Control.DONE))
        return True

    def _acknowledge(self) -> None:
        body = wire.ack_body(self.receiver.ack(self.clock.now, 0))
        self._back.send(self._receiver_channel.seal(wire.Control.ACK, body))
