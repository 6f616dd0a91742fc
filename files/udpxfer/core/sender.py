"""The sending side of a session as a state machine without I/O.

The loop hands in control datagrams and the time, asks `next_send` which segments of which record leave now, `next_control`
for sealed datagrams, and `deadline` when to come back. Records are sealed and kept by the loop until they appear in
`released`.

Every segment is at any time in exactly one place: not yet sent, in flight in exactly one send, lost (to be sent again), or
acknowledged. State is kept per record and per send, never per packet.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import NamedTuple

from ..errors import Code, TransferError
from .congestion import Congestion
from .geometry import Geometry, mask_of
from .pacing import BURST_SEGMENTS, Pacer
from .recovery import ANSWER_ALLOWANCE_S, HOST_DELAY_S, SEND_THRESHOLD, RoundTrip
from .sealing import ControlChannel
from .wire import (
    FLAG_ACK_NOW,
    SEND_NUMBER_LIMIT,
    Accept,
    Ack,
    BadDatagram,
    Control,
    ack_untrusted,
    refuse_payload,
    refuse_untrusted,
)

MAX_ACK_INTERVAL_BYTES = 1_000_000
"""An acknowledgement is asked for at least this often."""
ACKS_PER_WINDOW = 4
"""And so many times in a window: a handful in a round trip is enough for bulk data (draft-ietf-quic-ack-frequency), and some may be lost."""
STALLED_ROUND_TRIPS = 10
"""Without any new segment at the receiver for so long, the path no longer takes datagrams of this size."""
MAX_GIVEN_UP = 64
"""So many sends that counted as lost are remembered (memory): a late answer still tells how long the round trip has become."""
CAREFUL_RECORDS = 8
"""When more than one record of so many fails to authenticate, the sender tells digests beforehand."""
VANISHING_SENDS = 5
"""So many segmented sends lost whole, so many others answered meanwhile: the network swallows what is left to the kernel."""


class State(enum.Enum):
    """SENDING until the receiver has every record, WAITING for it to publish, then an end."""

    SENDING = "sending"
    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


class Send(NamedTuple):
    """One send: the segments of ``record`` in ``mask``."""

    number: int
    record: int
    mask: int
    flags: int
    probe: bool  # sent because nothing was heard: the loop avoids optional kernel features
    again: bool  # to be sent a second time, right behind the first


class _InFlight:
    """What must be remembered of a send until it is acknowledged or lost."""

    def __init__(self, record: int, mask: int, count: int, probe: bool, time: float) -> None:
        self.record = record
        self.mask = mask
        self.count = count
        self.time = time
        self.segmented = count > 1 and not probe
        self.whole = True  # nothing of it has arrived
        self.received_bytes = 0
        self.received_clock = 0
        self.first_sent = time
        self.app_limited = False


class _Vanishing:
    """Does the network swallow sends that were left to the kernel to segment? (Some tunnels do, without a word.)"""

    def __init__(self) -> None:
        self._lost = 0
        self._answered: set[int] = set()

    @property
    def noticed(self) -> bool:
        """Segmented sends are lost whole again and again, and only others are answered."""
        return self._lost >= VANISHING_SENDS <= len(self._answered)

    def lost(self, flight: _InFlight) -> None:
        """A send counts as lost."""
        self._lost += flight.segmented and flight.whole

    def arrived(self, flight: _InFlight, number: int) -> None:
        """Something of a send has arrived."""
        flight.whole = False
        if flight.segmented:
            self._lost = 0
            self._answered.clear()
        elif len(self._answered) < VANISHING_SENDS:
            self._answered.add(number)


class _Record:
    """Segments of a record that is not complete at the receiver."""

    def __init__(self) -> None:
        self.flying = 0
        self.lost = 0
        self.suspect_until = 0.0  # how long the receiver may take to tell which segments are spoiled


@dataclasses.dataclass
class SenderStatistics:
    """Counters of one session."""

    datagrams: int = 0
    retransmitted_datagrams: int = 0
    lost_datagrams: int = 0
    bad_records: int = 0
    receive_overflows: int = 0
    bad_datagrams: int = 0


def _count(mask: int) -> int:
    return bin(mask).count("1")


class Sender:
    """One file on its way to one receiver."""

    def __init__(
        self,
        geometry: Geometry,
        accept: Accept,
        channel: ControlChannel,
        congestion: Congestion,
        round_trip: RoundTrip,
        now: float,
        silence_s: float,
    ) -> None:
        self.state = State.SENDING
        self.failure: TransferError | None = None
        self.released: list[int] = []
        self.suspects: list[int] = []
        """Records that failed to authenticate: the loop answers with `send_digests`."""
        self.segments_vanish = False
        """Only sends that were not left to the kernel to segment arrive: the loop should send all of them so."""
        self.statistics = SenderStatistics()
        self.round_trip = round_trip
        self.congestion = congestion
        self._geometry = geometry
        self._channel = channel
        burst_bytes = min(congestion.window, BURST_SEGMENTS * geometry.datagram_bytes)
        self._pacer = Pacer(now, congestion.rate, burst_bytes)
        self._silence_s = silence_s
        self._heard_at = self._progress_at = now
        self._cumulative = 0
        self._window_end = accept.window_records
        self._stored = sorted(accept.stored)
        self._next_record = self._skip_stored(0)
        self._next_segment = 0
        self._records: dict[int, _Record] = {}
        self._lost: dict[int, None] = {}  # records with lost segments, oldest loss first
        self._flights: dict[int, _InFlight] = {}
        self._flying_segments = 0
        self._number = 0
        self._since_ack_request = 0
        self._round_end = 0
        self._round_start = now
        self._received_bytes = 0
        self._received_clock = 0
        self._first_sent = now
        self._source_verified = False
        self._controls: list[bytes] = [channel.seal(Control.PING)]
        self._backoff = 0
        self._probe_credit = 0
        self._asked_at = now
        self._loss_at = math.inf
        self._largest = 0
        self._vanishing = _Vanishing()
        self._listed_below = 0
        self._may_repair = False
        self._told_lost = 0  # of the lost datagrams, those that congestion control knows of
        self._given_up: dict[int, _InFlight] = {}  # sends that counted as lost a short while ago

    # ------------------------------------------------------------------ inputs

    def source_verified(self) -> None:
        """The loop has read every record and the source is still the file that was offered."""
        self._source_verified = True
        for _ in range(2):  # were one lost alone, the end would wait for a probe
            self._queue(Control.FINISH)

    def send_digests(self, body: bytes) -> None:
        """Tell the receiver the digests of a record's segments."""
        self._queue(Control.DIGESTS, body)

    @property
    def careful(self) -> bool:
        """So many records fail to authenticate that each should come with digests of its segments."""
        return self.statistics.bad_records > 1 + self._cumulative // CAREFUL_RECORDS

    def abort(self, error: TransferError) -> None:
        """Give up, and tell the receiver."""
        if self.state in (State.SENDING, State.WAITING):
            self._queue(Control.ABORT, refuse_payload(error))
            self._fail(error)

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram arrived from the receiver's address."""
        try:
            control, body = self._channel.open_untrusted(datagram)
            if control is Control.ACK:
                self._on_ack(ack_untrusted(body), now)
            elif control is Control.DONE:
                self.state = State.DONE
                self._queue(Control.CLOSE)
            elif control is Control.ABORT:
                self._fail(refuse_untrusted(body))
        except BadDatagram:
            self.statistics.bad_datagrams += 1
            return
        self._heard_at = now
        self._backoff = 0
        self._may_repair = True

    # ----------------------------------------------------------------- outputs

    def deadline(self, now: float) -> float:
        """When to call `on_time` or `next_send` again if nothing arrives before."""
        may_send_at = now + self._pacer.delay(now) if self._sendable_segments() else math.inf
        return min(self._probe_at(), self._silent_at(), self._loss_at, may_send_at)

    def on_time(self, now: float) -> None:
        """Time has passed: find losses, probe, or give up."""
        if self.state not in (State.SENDING, State.WAITING):
            return
        if now >= self._silent_at():
            self._fail(TransferError(Code.PEER_SILENT, f"nothing has arrived for {self._silence_s:.0f} seconds"))
        elif now >= self._loss_at:
            self._find_losses(now)
        elif now >= self._probe_at():
            self._probe(now)

    def next_control(self) -> bytes | None:
        """A sealed datagram to send now, or None."""
        return self._controls.pop(0) if self._controls else None

    def next_send(self, now: float) -> Send | None:
        """The next segments to send now, or None when window, pace, or lack of data forbid it."""
        count = self._sendable_segments()
        if not count or self._pacer.delay(now) > 0:
            return None
        probe = self._probe_credit > 0
        self._probe_credit = 0
        if not self._lost:
            return self._launch(*self._take_new(count), probe, False, now)
        record, mask = self._take_lost(count)
        count = _count(mask)
        # The window that no new data fills any more carries each repair twice: losing one again costs a round trip.
        room = self.congestion.window - (self._flying_segments + count) * self._geometry.datagram_bytes
        again = not probe and not self._has_new() and count * self._geometry.datagram_bytes <= room
        self.statistics.retransmitted_datagrams += count * (1 + again)
        return self._launch(record, mask, probe, again, now)

    # ---------------------------------------------------------------- internals

    def _queue(self, control: Control, body: bytes = b"") -> None:
        self._controls.append(self._channel.seal(control, body))

    def _fail(self, error: TransferError) -> None:
        self.state = State.FAILED
        self.failure = error

    def _silent_at(self) -> float:
        """When to give the session up: nothing is heard, or only that no segment arrives (as if the path's MTU had shrunk)."""
        stalled = self._progress_at + max(self._silence_s, STALLED_ROUND_TRIPS * self.round_trip.smoothed)
        return min(self._heard_at + self._silence_s, stalled if self.state is State.SENDING else math.inf)

    def _skip_stored(self, record: int) -> int:
        while self._stored and self._stored[0][0] <= record:
            record = max(record, self._stored.pop(0)[1] + 1)
        return record

    def _has_new(self) -> bool:
        return self._next_record < self._geometry.records and self._next_record < self._window_end

    def _sendable_segments(self) -> int:
        """How many segments the next send may carry; small rests of the window wait until they are worth a send."""
        if self.state is not State.SENDING or not (self._lost or self._has_new()):
            return 0
        size = self._geometry.datagram_bytes
        if self._probe_credit:
            return self._probe_credit
        quantum, window, flying = self.congestion.quantum, self.congestion.window, self._flying_segments * size
        room = window - flying
        if flying and room < min(quantum, window // 4, self._left_in_record() * size):
            return 0
        return max(min(quantum, room) // size, 0 if flying else 1)

    def _left_in_record(self) -> int:
        """Segments that finish the record in hand."""
        if self._lost:
            return _count(self._records[next(iter(self._lost))].lost)
        return self._geometry.segments_of(self._next_record) - self._next_segment

    def _take_lost(self, count: int) -> tuple[int, int]:
        record = next(iter(self._lost))
        state = self._records[record]
        mask, rest = 0, state.lost
        for _ in range(min(count, _count(rest))):
            lowest = rest & -rest
            mask |= lowest
            rest ^= lowest
        state.lost = rest
        if not rest:
            del self._lost[record]
        return record, mask

    def _take_new(self, count: int) -> tuple[int, int]:
        record, first = self._next_record, self._next_segment
        segments = self._geometry.segments_of(record)
        taken = min(count, segments - first)
        if first == 0:
            self._records[record] = _Record()
        if first + taken == segments:
            self._next_record, self._next_segment = self._skip_stored(record + 1), 0
        else:
            self._next_segment = first + taken
        return record, mask_of(taken) << first

    def _launch(self, record: int, mask: int, probe: bool, again: bool, now: float) -> Send:
        count = _count(mask)
        size = count * self._geometry.datagram_bytes * (1 + again)
        self._number += 1
        if self._number >= SEND_NUMBER_LIMIT:
            self._fail(TransferError(Code.INTERRUPTED, "the session has used up its send numbers"))
        if not self._flights:
            self._first_sent = now
        flight = _InFlight(record, mask, count, probe, now)
        flight.received_bytes, flight.received_clock = self._received_bytes, self._received_clock
        flight.first_sent = self._first_sent
        self._flights[self._number] = flight
        self._records[record].flying |= mask
        self._flying_segments += count
        self._pacer.spend(size)
        self.statistics.datagrams += count * (1 + again)
        self._asked_at = now
        flight.app_limited = not self._lost and not self._has_new()
        return Send(self._number, record, mask, self._flags(size, probe), probe, again)

    def _flags(self, size: int, probe: bool) -> int:
        self._since_ack_request += size
        window = self.congestion.window
        interval = min(window // ACKS_PER_WINDOW, MAX_ACK_INTERVAL_BYTES)
        room = window - self._flying_segments * self._geometry.datagram_bytes
        more_follows = room >= self.congestion.quantum and (self._lost or self._has_new())
        if self._since_ack_request < interval and more_follows and not probe:
            return 0
        self._since_ack_request = 0
        return FLAG_ACK_NOW

    def _on_ack(self, ack: Ack, now: float) -> None:
        if self.state is not State.SENDING:
            return
        if ack.cumulative > self._geometry.records:
            raise BadDatagram("ack: of something never sent")
        # Headers of segments are not authenticated: an altered number means nothing, but the rest of the message does.
        latest = ack.latest_send if ack.latest_send <= self._number else 0
        self._largest = max(self._largest, latest)
        self._window_end = max(self._window_end, ack.window_end)
        self.statistics.bad_records, self.statistics.receive_overflows = ack.bad_records, ack.receive_overflows
        newest = self._flights.get(latest)
        self._release(ack)
        acked = self._remove_acked(ack)
        if self._find_arrived(ack) or acked:
            self._progress_at = now
        self._reclaim(ack, now)
        rtt = self._sample_round_trip(newest, latest, ack, now)
        rate, app_limited = self._sample_rate(newest, ack)
        self._received_bytes, self._received_clock = ack.received_bytes, ack.clock_us
        new_round = latest > self._round_end and now - self._round_start >= HOST_DELAY_S
        if new_round:
            self._round_end, self._round_start = self._number, now
        self._listed_below = ack.listed_below
        self._find_losses(now)
        size = self._geometry.datagram_bytes
        lost, self._told_lost = self.statistics.lost_datagrams - self._told_lost, self.statistics.lost_datagrams
        flying = self._flying_segments * size
        self.congestion.on_ack(now, acked * size, lost * size, flying, rate, app_limited, rtt, new_round)
        self._pacer.set_rate(now, self.congestion.rate)
        if self._cumulative == self._geometry.records:
            self.state = State.WAITING

    def _release(self, ack: Ack) -> None:
        """Forget records that are complete at the receiver."""
        self._cumulative = max(self._cumulative, ack.cumulative)
        complete, base = ack.complete, ack.cumulative
        for record in [r for r in self._records if r < base or complete >> (r - base) & 1]:
            if record == self._next_record:
                raise BadDatagram("ack: record complete before it was sent")
            del self._records[record]
            self._lost.pop(record, None)
            self.released.append(record)

    def _remove_acked(self, ack: Ack) -> int:
        """Take acknowledged segments out of flight; returns how many."""
        missing = dict(ack.partial)
        acked = 0
        for number, flight in list(self._flights.items()):
            state = self._records.get(flight.record)
            if state is None:
                acked += flight.count
                del self._flights[number]
                continue
            if number > self._largest or flight.record not in missing:
                continue
            arrived = flight.mask & ~missing[flight.record]
            if arrived:
                self._vanishing.arrived(flight, number)
                count = _count(arrived)
                acked += count
                state.flying &= ~arrived
                flight.mask &= ~arrived
                flight.count -= count
                if not flight.mask:
                    del self._flights[number]
        self._flying_segments -= acked
        return acked

    def _find_arrived(self, ack: Ack) -> bool:
        """Segments that counted as lost and arrived late need no repeat; True when there were any."""
        found = False
        for record, missing in ack.partial:
            state = self._records.get(record)
            if state is not None and state.lost & ~missing:
                found = True
                state.lost &= missing
                if not state.lost:
                    del self._lost[record]
        return found

    def _reclaim(self, ack: Ack, now: float) -> None:
        """Segments that had arrived but whose record then failed to authenticate must be sent again.

        When all of a record fails, the receiver first gets digests of its segments, and a round trip to say which are spoiled.
        """
        for record, missing in ack.partial:
            state = self._records.get(record)
            if state is None or record == self._next_record:
                continue
            orphans = missing & self._geometry.mask(record) & ~state.flying & ~state.lost
            if not orphans:
                continue
            all_missing = missing == self._geometry.mask(record) and missing > 1
            if all_missing and state.suspect_until == 0.0:
                state.suspect_until = now + 1.25 * self.round_trip.smoothed
                self.suspects.append(record)
            elif not all_missing or now >= state.suspect_until:
                state.suspect_until = 0.0
                state.lost |= orphans
                self._lost[record] = None

    def _sample_round_trip(self, newest: _InFlight | None, latest: int, ack: Ack, now: float) -> float:
        answered = newest if newest is not None else self._given_up.pop(latest, None)
        if answered is None:
            return 0.0
        self._vanishing.arrived(answered, latest)
        self.segments_vanish |= self._vanishing.noticed
        sample = now - answered.time - ack.delay_us / 1e6
        if sample <= 0:
            return 0.0
        self.round_trip.update(sample)
        return sample

    def _sample_rate(self, newest: _InFlight | None, ack: Ack) -> tuple[float, bool]:
        """Delivery rate between the state when the newest acknowledged send left and now, on the slower of both clocks."""
        if newest is None:
            return 0.0, True
        self._first_sent = newest.time
        delivered = ack.received_bytes - newest.received_bytes
        elapsed = max((ack.clock_us - newest.received_clock) / 1e6, newest.time - newest.first_sent)
        if newest.received_clock == 0 or elapsed <= 0:
            elapsed = self.round_trip.latest
        return delivered / elapsed, newest.app_limited

    def _find_losses(self, now: float) -> None:
        """Sends that were overtaken by three later ones, or by any one long ago, are lost (RFC 9002 section 6.1).

        When no new data is left, nothing overtakes the last sends. They are sent again as soon as they are late, once
        for each message heard: when nothing is heard, only probes leave, and they back off.
        """
        delay = self.round_trip.loss_delay()
        at_tail = self._may_repair and not self._has_new()
        self._loss_at = math.inf
        for number, flight in list(self._flights.items()):
            overtaken = number < self._largest
            if not (overtaken or at_tail):
                break
            if overtaken and flight.record >= self._listed_below:
                continue  # the last acknowledgement had no room to speak of it
            late_at = flight.time + delay + (0.0 if overtaken else ANSWER_ALLOWANCE_S)
            if late_at <= now or self._largest - number >= SEND_THRESHOLD:
                self._lose(number, flight)
                self._may_repair &= overtaken
            else:
                self._loss_at = min(self._loss_at, late_at)

    def _lose(self, number: int, flight: _InFlight) -> None:
        del self._flights[number]
        self._vanishing.lost(flight)
        self._given_up[number] = flight
        if len(self._given_up) > MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]
        self._flying_segments -= flight.count
        self.statistics.lost_datagrams += flight.count
        state = self._records[flight.record]
        state.flying &= ~flight.mask
        state.lost |= flight.mask
        self._lost[flight.record] = None

    def _probe_at(self) -> float:
        return self._asked_at + self.round_trip.probe_timeout(self._backoff)

    def _probe(self, now: float) -> None:
        """Nothing was heard for a probe timeout: send the oldest segments again, or ask (RFC 9002 section 6.2)."""
        self._backoff += 1
        self._asked_at = now
        self.congestion.on_probe_timeout(self._backoff)
        self._pacer.set_rate(now, self.congestion.rate)
        if self._flights:
            number = next(iter(self._flights))
            self._lose(number, self._flights[number])
        if self._lost:
            self._probe_credit = 2
        # Authenticated, so that it tells the receiver where we are when a NAT has moved us.
        self._queue(Control.FINISH if self._source_verified else Control.PING)
