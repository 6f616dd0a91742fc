"""Flows that share one bottleneck in virtual time: senders and receivers of the core, and TCP CUBIC as their neighbour.

A drop-tail queue before a link of fixed rate, with random loss and delay behind it. Packets are events, bytes are only
counted, so a minute of 10 Mbit/s takes about two seconds.
"""

from __future__ import annotations

import abc
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable

from udpxfer.core import wire
from udpxfer.core.congestion import Congestion
from udpxfer.core.geometry import HEADER_BYTES, RECORD_BYTES, TAG_BYTES, Geometry
from udpxfer.core.receiver import BufferPool, Burst, Receiver
from udpxfer.core.recovery import RoundTrip
from udpxfer.core.sealing import ControlChannel, RecordCipher
from udpxfer.core.sender import Sender, State

DATAGRAM_BYTES = 1472
MTU_BYTES = 1500
SESSION = 7
WINDOW_RECORDS = 512
RECEIVE_BUFFER_BYTES = 8_000_000
SILENCE_S = 30.0


class Simulation:
    """Virtual time, and what happens at which."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[..., None], *arguments: object) -> None:
        """Call ``action`` with ``arguments`` at ``time``."""
        heapq.heappush(self._events, (time, next(self._order), action, arguments))

    def run(self, until_s: float) -> None:
        """Let everything happen that happens before ``until_s``."""
        events = self._events
        while events and events[0][0] <= until_s:
            self.now, _, action, arguments = heapq.heappop(events)
            action(*arguments)
        self.now = until_s


class Bottleneck:
    """A queue of ``queue_bytes`` before a link of ``rate`` bytes per second; a share ``loss`` of what leaves it is lost."""

    def __init__(
        self, simulation: Simulation, rng: random.Random, rate: float, queue_bytes: float, loss: float
    ) -> None:
        self._simulation, self._rng = simulation, rng
        self._rate, self._queue_bytes, self._loss = rate, queue_bytes, loss
        self._free_at = 0.0
        self.dropped = 0
        """Packets that found the queue full."""

    def send(self, size: int, delay_s: float, deliver: Callable[..., None], *arguments: object) -> None:
        """A packet of ``size`` bytes enters the queue; ``delay_s`` after it has left, ``deliver`` is called."""
        now = self._simulation.now
        backlog = (self._free_at - now) * self._rate
        if backlog + size > self._queue_bytes:
            self.dropped += 1
            return
        self._free_at = max(self._free_at, now) + size / self._rate
        if self._loss and self._rng.random() < self._loss:
            return
        self._simulation.at(self._free_at + delay_s, deliver, *arguments)


class Flow(abc.ABC):
    """A bulk transfer through the bottleneck."""

    delivered_bytes: int
    """What has arrived, repeats left out."""

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to send."""


class _NoCipher(RecordCipher):
    """Contents do not matter here, and real encryption would take the time of the simulation."""

    def __init__(self) -> None:
        super().__init__(bytes(32))

    def open(self, *_: object) -> bool:
        return True


class CoreFlow(Flow):
    """Both ends of a session of the core; the handshake is left out. The way back loses a share ``loss`` too."""

    def __init__(
        self,
        simulation: Simulation,
        bottleneck: Bottleneck,
        rtt_s: float,
        file_bytes: int = 10**10,
        loss: float = 0.0,
        rng: random.Random | None = None,
        max_rate: float | None = None,
    ) -> None:
        self._simulation, self._bottleneck = simulation, bottleneck
        self._delay_s = rtt_s / 2
        self._loss, self._rng = loss, rng or random.Random(0)
        self._rtt_s = rtt_s
        self.geometry = Geometry(file_bytes, DATAGRAM_BYTES)
        self._accept = wire.Accept(SESSION, RECEIVE_BUFFER_BYTES, WINDOW_RECORDS, ())
        self._channels = [ControlChannel(SESSION, bytes(32), bytes(32)) for _ in range(2)]
        self.receiver = Receiver(self.geometry, _NoCipher(), BufferPool(WINDOW_RECORDS), WINDOW_RECORDS)
        self._payload = memoryview(bytes(RECORD_BYTES + TAG_BYTES))
        self._max_rate = max_rate
        self._wake_at = float("inf")
        self.sender: Sender
        self.congestion: Congestion
        self.ended_at: float | None = None
        self.on_acknowledged: Callable[[], None] = lambda: None

    @property
    def delivered_bytes(self) -> int:  # type: ignore[override]
        return (
            self.receiver.statistics.datagrams * DATAGRAM_BYTES
            - self.receiver.statistics.duplicate_datagrams * DATAGRAM_BYTES
        )

    def start(self) -> None:
        now = self._simulation.now
        self.congestion = Congestion(now, self._rtt_s, DATAGRAM_BYTES, RECEIVE_BUFFER_BYTES, self._max_rate)
        self.sender = Sender(
            self.geometry,
            self._accept,
            self._channels[0],
            self.congestion,
            RoundTrip(self._rtt_s),
            now,
            SILENCE_S,
        )
        self._turn()

    def _turn(self) -> None:
        """What the sender's loop does when it wakes."""
        sender, now = self.sender, self._simulation.now
        if sender.state is not State.SENDING:
            return
        sender.on_time(now)
        while sender.next_control() is not None:
            pass
        while (send := sender.next_send(now)) is not None:
            for _ in range(1 + send.again):
                self._transmit(send.record, send.mask, send.flags, send.number)
        wake_at = max(sender.deadline(now), now + 1e-6)
        if wake_at < self._wake_at or self._wake_at <= now:
            self._wake_at = wake_at
            self._simulation.at(wake_at, self._wake, wake_at)

    def _wake(self, wake_at: float) -> None:
        if wake_at == self._wake_at:
            self._wake_at = float("inf")
            self._turn()

    def _transmit(self, record: int, mask: int, flags: int, number: int) -> None:
        geometry, send = self.geometry, self._bottleneck.send
        segment = 0
        while mask:
            if mask & 1:
                start, end = geometry.segment_span(record, segment)
                header = wire.DATA_HEADER.pack(wire.Kind.DATA, segment, flags, 0, SESSION, record, number)
                size = end - start
                burst = Burst(1, memoryview(header), self._payload[:size], size)
                send(size + HEADER_BYTES + 28, self._delay_s, self._arrive, burst)
            mask >>= 1
            segment += 1

    def _arrive(self, burst: Burst) -> None:
        simulation, receiver = self._simulation, self.receiver
        pending = receiver.ack_at
        receiver.receive_untrusted(burst, simulation.now)
        ack_at = receiver.ack_at
        if ack_at <= simulation.now:
            self._acknowledge()
        elif ack_at < pending:
            simulation.at(ack_at, self._acknowledge_late, ack_at)

    def _acknowledge_late(self, due: float) -> None:
        if self.receiver.ack_at == due:
            self._acknowledge()

    def _acknowledge(self) -> None:
        now = self._simulation.now
        body = wire.ack_body(self.receiver.ack(now, 0))
        datagram = self._channels[1].seal(wire.Control.ACK, body)
        if not (self._loss and self._rng.random() < self._loss):
            self._simulation.at(now + self._delay_s, self._acknowledged, datagram)

    def _acknowledged(self, datagram: bytes) -> None:
        self.sender.receive(datagram, self._simulation.now)
        self.sender.released.clear()
        if self.ended_at is None and self.sender.state is State.WAITING:
            self.ended_at = self._simulation.now
        self.on_acknowledged()
        self._turn()


class CubicFlow(Flow):
    """TCP CUBIC (RFC 9438) with selective acknowledgements and HyStart's delay rule, as Linux has it; windows in packets."""

    C, BETA = 0.4, 0.7
    DUPLICATE_THRESHOLD = 3
    MIN_TIMEOUT_S = 0.2

    def __init__(self, simulation: Simulation, bottleneck: Bottleneck, rtt_s: float) -> None:
        self._simulation, self._bottleneck = simulation, bottleneck
        self._rtt_s = rtt_s
        self._window, self._threshold = 10.0, float("inf")
        self._flying: dict[int, tuple[int, float]] = {}  # number of the transmission: packet, when
        self._number = 0
        self._next_packet = 0
        self._lost: deque[int] = deque()
        self._largest = -1
        self._recover = -1  # reductions happen once per window
        self._max_window = 0.0
        self._epoch: float | None = None
        self._friendly = 0.0
        self._plateau_s = 0.0
        self._smoothed, self._smallest = rtt_s, rtt_s
        self._heard_at = 0.0
        self._arrived: set[int] = set()
        self._unacknowledged: list[int] = []
        self.delivered_bytes = 0

    @property
    def window(self) -> float:
        """The congestion window in packets."""
        return self._window

    def start(self) -> None:
        self._heard_at = self._simulation.now
        self._transmit()
        self._simulation.at(self._simulation.now + self.MIN_TIMEOUT_S, self._check_timeout)

    def _transmit(self) -> None:
        while len(self._flying) < int(self._window):
            if self._lost:
                packet = self._lost.popleft()
            else:
                packet = self._next_packet
                self._next_packet += 1
            self._flying[self._number] = (packet, self._simulation.now)
            self._bottleneck.send(MTU_BYTES, self._rtt_s / 2, self._arrive, self._number, packet)
            self._number += 1

    def _arrive(self, number: int, packet: int) -> None:
        if packet not in self._arrived:
            self._arrived.add(packet)
            self.delivered_bytes += MTU_BYTES - 28
        in_order = not self._unacknowledged or number == self._unacknowledged[-1] + 1
        self._unacknowledged.append(number)
        if len(self._unacknowledged) >= 2 or not in_order:
            self._simulation.at(self._simulation.now + self._rtt_s / 2, self._acknowledged, self._unacknowledged)
            self._unacknowledged = []
        elif number >= 0:
            self._simulation.at(self._simulation.now + 0.04, self._acknowledge_late, number)

    def _acknowledge_late(self, number: int) -> None:
        if self._unacknowledged and self._unacknowledged[0] == number:
            self._simulation.at(self._simulation.now + self._rtt_s / 2, self._acknowledged, self._unacknowledged)
            self._unacknowledged = []

    def _acknowledged(self, numbers: list[int]) -> None:
        now = self._simulation.now
        self._heard_at = now
        acked = 0
        for number in numbers:
            flight = self._flying.pop(number, None)
            if flight is not None:
                acked += 1
                self._largest = max(self._largest, number)
                sample = now - flight[1]
                self._smoothed += (sample - self._smoothed) / 8
                self._smallest = min(self._smallest, sample)
                if self._window < self._threshold and sample > self._smallest + min(
                    max(self._smallest / 8, 0.004), 0.016
                ):
                    self._threshold = self._window  # HyStart: the queue grows, so slow start ends
        lost = list(itertools.takewhile(lambda n: n <= self._largest - self.DUPLICATE_THRESHOLD, self._flying))
        for number in lost:
            self._lost.append(self._flying.pop(number)[0])
        if lost and lost[-1] > self._recover:
            self._reduce()
        elif self._largest > self._recover:
            self._grow(acked)
        self._transmit()

    def _reduce(self) -> None:
        self._recover = self._number - 1
        window = self._window
        # Fast convergence (section 4.7).
        self._max_window = window * (1 + self.BETA) / 2 if window < self._max_window else window
        self._window = self._threshold = max(window * self.BETA, 2.0)
        self._epoch = None

    def _grow(self, acked: int) -> None:
        if self._window < self._threshold:
            self._window += acked
            return
        if self._epoch is None:
            self._epoch = self._simulation.now
            self._friendly = self._window
            self._max_window = max(self._max_window, self._window)
            self._plateau_s = ((self._max_window - self._window) / self.C) ** (1 / 3)
        elapsed = self._simulation.now - self._epoch + self._smoothed
        target = self.C * (elapsed - self._plateau_s) ** 3 + self._max_window
        target = min(max(target, self._window), 1.5 * self._window)
        alpha = 3 * (1 - self.BETA) / (1 + self.BETA) if self._friendly < self._max_window else 1.0
        self._friendly += alpha * acked / self._window
        growth = (target - self._window) / self._window if target > self._window else 0.01 / self._window
        self._window = max(self._window + growth * acked, self._friendly)

    def _check_timeout(self) -> None:
        now = self._simulation.now
        if self._flying and now - self._heard_at > max(self.MIN_TIMEOUT_S, 2 * self._smoothed):
            self._lost.extend(packet for packet, _ in self._flying.values())
            self._flying.clear()
            self._threshold = max(self._window * self.BETA, 2.0)
            self._max_window, self._window, self._epoch = self._window, 1.0, None
            self._recover = self._number - 1
            self._heard_at = now
            self._transmit()
        self._simulation.at(now + self.MIN_TIMEOUT_S / 4, self._check_timeout)
