"""One file on its way to one receiver, from the first offer to DONE, as a state machine without I/O.

The file is offered with datagrams of several sizes; an answer opens a session; when a session falls silent, the file is
offered again, and the receiver says what it has. The loop hands in datagrams and the time, and sends what comes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from ..errors import Code, TransferError
from . import wire
from .congestion import Congestion
from .geometry import MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES, RECORD_BYTES, Geometry
from .noise import Handshake, Initiator, NoiseError
from .outgoing import SealedRecords, SegmentTable, Source, select_segments
from .recovery import RoundTrip
from .sealing import ControlChannel, RecordCipher, SessionKeys
from .sender import Sender, State

ANSWER_TIMEOUT_S = 10.0
"""How long an offer waits for an answer; a receiver that is not there sends none."""
OFFER_INTERVAL_S = 0.25
"""Offers are repeated this often, with doubling intervals up to a second (RFC 8085 section 3.1.1 asks for back-off)."""
MAX_OFFER_INTERVAL_S = 1.0
SILENCE_S = 5.0
"""When nothing is heard for this long, the file is offered again: the receiver may have restarted, or the path changed."""
REOFFER_TIMEOUT_S = 30.0
"""How long it is offered again before the transfer fails; shorter black-outs are survived."""
FRUITLESS_SESSIONS = 3
"""After so many sessions in a row in which not one record arrived, the transfer fails."""
MAX_FIRST_RTT_S = 1.0
"""The longest round trip that is believed of an offer that was repeated (RFC 6298 section 2.1 begins with it)."""
CLOCK_TICK_S = 1e-6
"""No round trip counts as shorter: a clock may stand still between two looks at it."""
COMMON_DATAGRAM_BYTES = (1_452, MIN_DATAGRAM_BYTES)
"""Tried after the first hop's own size: IPv6 on Ethernet, then what every path carries."""


class Segments(NamedTuple):
    """What one system call sends."""

    views: list[memoryview]  # header and payload of each datagram in turn
    datagram_bytes: int  # of each but the last, which may be shorter
    single: bool  # without optional kernel features, one call for each datagram


@dataclasses.dataclass
class Totals:
    """Counters of all sessions; `docs/protocol.md` explains them."""

    resumed_bytes: int = 0
    sessions: int = 0
    datagrams: int = 0
    datagram_bytes: int = 0
    retransmitted_bytes: int = 0
    lost_datagrams: int = 0
    bad_records: int = 0
    bad_datagrams: int = 0
    receive_overflows: int = 0
    rtt_s: float = 0.0
    rtt_smoothed_s: float = 0.0


class Delivery:
    """Sends what ``offer`` describes (its datagram size does not count). Ends with `done` or with a `failure`.

    ``first_hop_bytes`` tells the largest UDP payload that the first hop takes, ``random`` gives secret random bytes,
    ``max_rate`` bounds the rate (bytes per second).
    """

    def __init__(
        self,
        offer: wire.Offer,
        source: Source,
        key: bytes,
        first_hop_bytes: Callable[[], int],
        random: Callable[[int], bytes],
        now: float,
        max_rate: float | None = None,
    ) -> None:
        self.done = False
        self.failure: TransferError | None = None
        self.totals = Totals()
        self._offer, self._source, self._max_rate = offer, source, max_rate
        self._handshake = Handshake(key, wire.PROLOGUE)
        self._first_hop_bytes = first_hop_bytes
        self._random = random
        self._session: _Session | None = None
        self._fruitless = self._delivered_bytes = 0
        no_answer = TransferError(Code.NO_ANSWER, f"no answer within {ANSWER_TIMEOUT_S:.0f} seconds")
        self._start_offering(now, ANSWER_TIMEOUT_S, no_answer)

    @property
    def ended(self) -> bool:
        """Nothing but the datagrams that are still queued is left to do."""
        return self.done or self.failure is not None

    @property
    def delivered_bytes(self) -> int:
        """Plain bytes that the receiver has."""
        if self._session is not None:
            self._delivered_bytes = self._session.delivered_bytes
        return self._offer.file_bytes if self.done else self._delivered_bytes

    @property
    def segments_vanish(self) -> bool:
        """Only sends that were not left to the kernel to segment arrive: the loop should send all of them so."""
        return self._session is not None and self._session.sender.segments_vanish

    # ------------------------------------------------------------------ inputs

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram arrived from the receiver's address."""
        if self._session is not None:
            self._session.receive(datagram, now)
            self._follow(now)
        elif not self.ended:
            self._on_answer(datagram, now)

    def on_time(self, now: float) -> None:
        """Time has passed."""
        if self._session is not None:
            self._session.sender.on_time(now)
            self._follow(now)
        elif now >= self._offers.until:
            self.failure = self._failure_of_silence
        else:
            self._offers.repeat(now)

    def abort(self, error: TransferError) -> None:
        """Give up, and tell the receiver."""
        if self._session is not None:
            self._session.sender.abort(error)
            self._follow(0.0)
        elif not self.ended:
            self.failure = error

    # ----------------------------------------------------------------- outputs

    def deadline(self, now: float) -> float:
        """When to call `on_time` or `next_segments` again if nothing arrives before."""
        return self._session.sender.deadline(now) if self._session is not None else self._offers.deadline

    def next_datagram(self) -> bytes | None:
        """An offer or a control message to send now, or None."""
        if self._session is not None:
            return self._session.sender.next_control()
        return self._offers.queue.pop(0) if self._offers.queue else None

    def next_segments(self, now: float) -> Segments | None:
        """The next segments to send now, or None when window, pace, or lack of data forbid it."""
        if self._session is None:
            return None
        try:
            return self._session.next_segments(now)
        except TransferError as error:
            self.abort(error)
            return None

    # --------------------------------------------------------------- internals

    def _start_offering(self, now: float, timeout_s: float, failure: TransferError) -> None:
        first = max(min(self._first_hop_bytes(), MAX_DATAGRAM_BYTES), MIN_DATAGRAM_BYTES)
        sizes = [first, *(size for size in COMMON_DATAGRAM_BYTES if size < first)]
        offers = [dataclasses.replace(self._offer, datagram_bytes=size) for size in sizes]
        self._offers = _Offers(
            [(offer, self._handshake.initiator(self._random(32))) for offer in offers], now, timeout_s
        )
        self._failure_of_silence = failure

    def _on_answer(self, datagram: bytes, now: float) -> None:
        opened = self._offers.receive(datagram, now)
        if opened is None:
            return
        answer = opened.answer
        if isinstance(answer, TransferError):
            self.failure = TransferError(answer.code, f"the receiver refused: {answer.message}")
            return
        self._session = _Session(answer, opened, self._source, self._max_rate, now)
        if not self.totals.sessions:
            self.totals.resumed_bytes = self._session.resumed_bytes
        self.totals.sessions += 1

    def _follow(self, now: float) -> None:
        """Go where the session's sender went."""
        session = self._session
        if session is None or self.ended or session.sender.state in (State.SENDING, State.WAITING):
            return
        session.add_to(self.totals)
        failure = session.sender.failure
        if failure is None:
            self.done = True
        elif failure.code is Code.PEER_SILENT and self._worth_another(session):
            self._session = None
            self._start_offering(now, REOFFER_TIMEOUT_S, failure)
        else:
            self.failure = failure

    def _worth_another(self, session: _Session) -> bool:
        fruitless = session.delivered_bytes == session.resumed_bytes
        self._fruitless = self._fruitless + 1 if fruitless else 0
        return self._fruitless < FRUITLESS_SESSIONS


class _Opened(NamedTuple):
    """An answered offer."""

    answer: wire.Accept | TransferError
    offer: wire.Offer
    keys: SessionKeys
    rtt_s: float


class _Offers:
    """The file, offered with datagrams of several sizes: the largest that is answered is used (RFC 8899 in one trip)."""

    def __init__(self, offers: list[tuple[wire.Offer, Initiator]], now: float, timeout_s: float) -> None:
        self.until = now + timeout_s
        self.queue: list[bytes] = []
        self._unused = offers
        self._made: list[tuple[wire.Offer, Initiator, bytes, float]] = []
        self._sent_at = self._next_at = now
        self._interval = OFFER_INTERVAL_S

    @property
    def deadline(self) -> float:
        """When to offer again, or to give up."""
        return min(self._next_at, self.until)

    def repeat(self, now: float) -> None:
        """When it is time: send all offers made so far and one of a smaller size."""
        if now < self._next_at:
            return
        if self._unused:
            offer, initiator = self._unused.pop(0)
            datagram = wire.offer_datagram(initiator.write(wire.offer_payload(offer)))
            self._made.append((offer, initiator, datagram, now))
        self.queue = [datagram for _, _, datagram, _ in self._made]
        self._sent_at, self._next_at = now, now + self._interval
        self._interval = min(self._interval * 2, MAX_OFFER_INTERVAL_S)

    def receive(self, datagram: bytes, now: float) -> _Opened | None:
        """What the datagram answers, or None when it answers no offer of ours."""
        for offer, initiator, _, first_sent_at in self._made:
            try:
                token, message = wire.answer_message_untrusted(datagram)
                if token != initiator.public[: wire.TOKEN_BYTES]:
                    continue
                answer = wire.answer_untrusted(initiator.read(message))
            except (wire.BadDatagram, NoiseError):
                continue
            # Nobody knows which repeat was answered (Karn's problem). Too long a round trip is corrected by the first sample,
            # too short a one is not; but what a black-out took is none.
            rtt_s = max(min(now - first_sent_at, MAX_FIRST_RTT_S), now - self._sent_at, CLOCK_TICK_S)
            return _Opened(answer, offer, SessionKeys(*initiator.split()), rtt_s)
        return None


class _Session:
    """One accepted offer: the sender's state machine, and the records that it names."""

    def __init__(
        self, accept: wire.Accept, opened: _Opened, source: Source, max_rate: float | None, now: float
    ) -> None:
        datagram_bytes, keys, rtt_s = opened.offer.datagram_bytes, opened.keys, opened.rtt_s
        self._geometry = geometry = Geometry(opened.offer.file_bytes, datagram_bytes)
        self._source = source
        self._table = SegmentTable(accept.session, geometry.segment_bytes)
        self._records = SealedRecords(source, geometry, RecordCipher(keys.record), self._table)
        channel = ControlChannel(accept.session, keys.to_receiver, keys.to_sender)
        congestion = Congestion(now, rtt_s, datagram_bytes, accept.receive_buffer_bytes, max_rate)
        self.sender = Sender(geometry, accept, channel, congestion, RoundTrip(rtt_s), now, SILENCE_S)
        stored = [(first, min(last, geometry.records - 1)) for first, last in accept.stored]
        self._to_seal = geometry.records - sum(last - first + 1 for first, last in stored)
        self.resumed_bytes = sum((last - first) * RECORD_BYTES + geometry.plain_bytes(last) for first, last in stored)
        self.delivered_bytes = self.resumed_bytes
        self._source_checked = False
        self._again: Segments | None = None

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram arrived."""
        self.sender.receive(datagram, now)
        self._again = None  # its buffer may be another record's from here on
        for record in self.sender.released:
            self._records.release(record)
            self.delivered_bytes += self._geometry.plain_bytes(record)
        self.sender.released.clear()
        for record in self.sender.suspects:
            self._send_digests(record)
        self.sender.suspects.clear()

    def _send_digests(self, record: int) -> None:
        self.sender.send_digests(wire.digests_body(record, self._records.segments(record)[1::2]))

    def next_segments(self, now: float) -> Segments | None:
        """The next segments to send now, or None. Raises TransferError (source)."""
        if self._records.sealed == self._to_seal and not self._source_checked:
            self._source_checked = True
            self._source.verify()
            self.sender.source_verified()
        if self._again is not None:
            segments, self._again = self._again, None
            return segments
        send = self.sender.next_send(now)
        if send is None:
            return None
        sealed = self._records.sealed
        views = self._records.segments(send.record)
        if self.sender.careful and sealed < self._records.sealed:
            self._send_digests(send.record)
        self._table.stamp(send.record, send.number, send.flags)
        segments = Segments(select_segments(views, send.mask), self._geometry.datagram_bytes, send.probe)
        self._again = segments if send.again else None
        return segments

    def add_to(self, totals: Totals) -> None:
        """Add the counters of the session."""
        statistics, round_trip = self.sender.statistics, self.sender.round_trip
        totals.datagrams += statistics.datagrams
        totals.datagram_bytes = self._geometry.datagram_bytes
        totals.retransmitted_bytes += statistics.retransmitted_datagrams * self._geometry.segment_bytes
        totals.lost_datagrams += statistics.lost_datagrams
        totals.bad_records += statistics.bad_records
        totals.bad_datagrams += statistics.bad_datagrams
        totals.receive_overflows = statistics.receive_overflows
        totals.rtt_s = round_trip.smallest
        totals.rtt_smoothed_s = round_trip.smoothed
