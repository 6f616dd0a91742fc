"""The receiving side of a session as a state machine without I/O: segments become records, what is missing is told.

The loop hands in bursts of segments, writes the records that `receive_untrusted` returns, and sends `ack` when it is due. Nothing
that a peer sends raises out of here except BadDatagram.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

from .geometry import HEADER_BYTES, SEALED_BYTES, Geometry, mask_of
from .sealing import RecordCipher
from .wire import DATA_HEADER, FLAG_ACK_NOW, MAX_PARTIAL, SEGMENT_NUMBERS, Ack, BadDatagram, Kind, segment_digest

ACK_DELAY_S = 0.025
"""An acknowledgement that nobody asked for follows the data after this time (RFC 9000 section 18.2: max_ack_delay)."""


class Burst(NamedTuple):
    """Datagrams of one sender that the kernel delivered together: headers and payloads, each contiguous.

    All payloads but the last have the same length; ``payload`` ends where the last one ends.
    """

    datagrams: int
    headers: memoryview
    payload: memoryview
    segment_bytes: int


def split(burst: Burst) -> list[Burst]:
    """The burst in pieces of which each is uniform: consecutive segments of one send, or one datagram of another kind."""
    first = bytes(burst.headers[:HEADER_BYTES])
    expected = bytearray(first * burst.datagrams)
    expected[1::HEADER_BYTES] = SEGMENT_NUMBERS[first[1] : first[1] + burst.datagrams].ljust(burst.datagrams, b"\xff")
    if burst.datagrams == 1 or (first[0] == Kind.DATA and expected == burst.headers):
        return [burst]
    headers, size = bytes(burst.headers), burst.segment_bytes
    starts = [index for index in range(burst.datagrams) if not index or not _continues(headers, index * HEADER_BYTES)]
    return [
        Burst(
            end - start,
            burst.headers[start * HEADER_BYTES : end * HEADER_BYTES],
            burst.payload[start * size : end * size],
            size,
        )
        for start, end in zip(starts, [*starts[1:], burst.datagrams])
    ]


def _continues(headers: bytes, at: int) -> bool:
    """The header at offset ``at`` is that of the next segment of the send before it."""
    before = at - HEADER_BYTES
    return (
        headers[before] == headers[at] == Kind.DATA
        and headers[before + 1] + 1 == headers[at + 1]
        and headers[before + 2 : at] == headers[at + 2 : at + HEADER_BYTES]
    )


def _ones(mask: int) -> int:
    """Length of the run of set bits at the bottom of ``mask``."""
    return ((mask + 1) & ~mask).bit_length() - 1


class BufferPool:
    """Buffers of one sealed record each, lent to incomplete records; bounded, so that senders cannot fill the memory."""

    def __init__(self, limit: int) -> None:
        self.scratch = memoryview(bytearray(SEALED_BYTES))
        """For the plain bytes of one record, until the next one is opened."""
        self._free: list[bytearray] = []
        self._unused = limit

    def take(self) -> bytearray | None:
        """A buffer of SEALED_BYTES, or None when all are lent."""
        if self._free:
            return self._free.pop()
        if not self._unused:
            return None
        self._unused -= 1
        return bytearray(SEALED_BYTES)

    def give(self, buffer: bytearray) -> None:
        """Return a buffer."""
        self._free.append(buffer)


@dataclasses.dataclass
class ReceiverStatistics:
    """Counters of one session."""

    datagrams: int = 0
    duplicate_datagrams: int = 0
    bad_records: int = 0


class _Partial:
    """A record of which some segments are here."""

    def __init__(self, buffer: bytearray, missing: int) -> None:
        self.buffer = buffer
        self.missing = missing
        self.digests: list[bytes] = []  # of all segments, as soon as the sender has told them
        self.suspect = False  # all segments were here, but not all were authentic


class Receiver:
    """The records of one file as they arrive."""

    def __init__(
        self,
        geometry: Geometry,
        cipher: RecordCipher,
        pool: BufferPool,
        window_records: int,
        stored: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.statistics = ReceiverStatistics()
        self.geometry = geometry
        self._cipher = cipher
        self._pool = pool
        self._window = window_records
        self._stored = sorted(stored)
        self._cumulative = 0
        self._ahead = 0  # bit i: record cumulative + i is complete
        self._partial: dict[int, _Partial] = {}
        self._latest_send = 0
        self._received_bytes = 0
        self._received_at = 0.0
        self.ack_at = math.inf
        """When an acknowledgement is due; infinite when nothing new arrived."""
        self._advance()

    @property
    def complete(self) -> bool:
        """Every record is here."""
        return self._cumulative == self.geometry.records

    def complete_ranges(self) -> tuple[tuple[int, int], ...]:
        """The records that are here, as ranges (first, last)."""
        ranges = [(0, self._cumulative - 1)] if self._cumulative else []
        first, rest = self._cumulative, self._ahead
        while rest:
            gap = (rest & -rest).bit_length() - 1
            rest >>= gap
            run = _ones(rest)
            first += gap
            ranges.append((first, first + run - 1))
            first, rest = first + run, rest >> run
        return (*ranges, *self._stored)

    def close(self) -> None:
        """Give all buffers back."""
        for partial in self._partial.values():
            self._pool.give(partial.buffer)
        self._partial.clear()

    # ------------------------------------------------------------------ inputs

    def receive_untrusted(self, burst: Burst, now: float) -> tuple[int, memoryview] | None:
        """Take a uniform burst (see `split`); returns number and plain bytes of the record it completed.

        The plain bytes are valid until the next call.
        """
        _, first, flags, _, _, record, number = DATA_HEADER.unpack_from(burst.headers)
        geometry, count, payload = self.geometry, burst.datagrams, burst.payload
        if record >= geometry.records or first + count > geometry.segments_of(record):
            raise BadDatagram("segment: out of range")
        start = first * geometry.segment_bytes
        if len(payload) != min(count * geometry.segment_bytes, geometry.sealed_bytes(record) - start):
            raise BadDatagram("segment: length does not fit")
        self.statistics.datagrams += count
        self._received_bytes += len(payload) + count * HEADER_BYTES
        self._received_at = now
        self._latest_send = number
        self.ack_at = now if flags & FLAG_ACK_NOW else min(self.ack_at, now + ACK_DELAY_S)
        if self._is_complete(record):
            self.statistics.duplicate_datagrams += count
            return None
        if record >= self._cumulative + self._window:
            return None
        return self._assemble(record, first, count, start, payload)

    def digests(self, record: int, digests: list[bytes]) -> tuple[int, memoryview] | None:
        """Take what the authenticated sender says about a record's segments: spoiled ones are found one by one from now on."""
        if record >= self.geometry.records or len(digests) != self.geometry.segments_of(record):
            raise BadDatagram("digests: of no record")
        wanted = record < self._cumulative + self._window and not self._is_complete(record)
        partial = self._partial_of(record) if wanted else None
        if partial is None or partial.digests:
            return None
        partial.digests = digests
        here = self.geometry.mask(record) if partial.suspect else self.geometry.mask(record) & ~partial.missing
        partial.suspect = False
        partial.missing = self.geometry.mask(record)
        for segment, digest in enumerate(digests):
            start, end = self.geometry.segment_span(record, segment)
            if here >> segment & 1 and segment_digest(partial.buffer[start:end]) == digest:
                partial.missing ^= 1 << segment
        return self._finish(record, partial)

    def _partial_of(self, record: int) -> _Partial | None:
        """The state of an incomplete record; None when all buffers are lent."""
        partial = self._partial.get(record)
        if partial is None:
            buffer = self._pool.take()
            if buffer is not None:
                partial = self._partial[record] = _Partial(buffer, self.geometry.mask(record))
        return partial

    def _assemble(
        self, record: int, first: int, count: int, start: int, payload: memoryview
    ) -> tuple[int, memoryview] | None:
        whole = len(payload) == self.geometry.sealed_bytes(record)
        if whole and (completed := self._open(record, payload)) is not None:
            return completed
        partial = self._partial_of(record)
        if partial is None:
            return None
        if partial.digests:
            self._take_authentic(partial, first, start, payload)
        else:
            mask = mask_of(count) << first
            self.statistics.duplicate_datagrams += count - bin(partial.missing & mask).count("1")
            partial.buffer[start : start + len(payload)] = payload
            partial.missing &= ~mask
            if whole:
                partial.missing, partial.suspect = self.geometry.mask(record), True
        return self._finish(record, partial)

    def _take_authentic(self, partial: _Partial, first: int, start: int, payload: memoryview) -> None:
        """Take the segments of a burst that are missing and not spoiled."""
        size = self.geometry.segment_bytes
        for index, offset in enumerate(range(0, len(payload), size)):
            bit, segment = 1 << (first + index), payload[offset : offset + size]
            if not partial.missing & bit:
                self.statistics.duplicate_datagrams += 1
            elif segment_digest(segment) == partial.digests[first + index]:
                partial.buffer[start + offset : start + offset + len(segment)] = segment
                partial.missing ^= bit

    def _finish(self, record: int, partial: _Partial) -> tuple[int, memoryview] | None:
        """Open the record when it has all its segments."""
        if partial.missing:
            return None
        completed = self._open(record, memoryview(partial.buffer)[: self.geometry.sealed_bytes(record)])
        if completed is None:
            partial.missing, partial.suspect = self.geometry.mask(record), True
            partial.digests = []
        return completed

    def _open(self, record: int, sealed: memoryview) -> tuple[int, memoryview] | None:
        """The record with its plain bytes, which needs no buffer any more; None when it is not authentic."""
        plain = self._pool.scratch[: self.geometry.plain_bytes(record)]
        if not self._cipher.open(record, sealed, plain):
            self.statistics.bad_records += 1
            return None
        partial = self._partial.pop(record, None)
        if partial is not None:
            self._pool.give(partial.buffer)
        self._ahead |= 1 << (record - self._cumulative)
        self._advance()
        return record, plain

    def _is_complete(self, record: int) -> bool:
        return record < self._cumulative or bool(self._ahead >> (record - self._cumulative) & 1)

    def _advance(self) -> None:
        """Move the lowest incomplete record up, over records that were stored by an earlier session too."""
        while True:
            if self._ahead & 1:
                run = _ones(self._ahead)
            elif self._stored and self._stored[0][0] <= self._cumulative:
                run = max(self._stored.pop(0)[1] + 1 - self._cumulative, 0)
            else:
                return
            self._cumulative += run
            self._ahead >>= run

    # ----------------------------------------------------------------- outputs

    def ack(self, now: float, receive_overflows: int) -> Ack:
        """The acknowledgement that describes what is here now; ``receive_overflows`` as the kernel counts them."""
        self.ack_at = math.inf
        listed = sorted(self._partial)[: MAX_PARTIAL + 1]
        listed_below = listed[MAX_PARTIAL] if len(listed) > MAX_PARTIAL else self.geometry.records
        return Ack(
            cumulative=self._cumulative,
            window_end=min(self._cumulative + self._window, self.geometry.records),
            latest_send=self._latest_send,
            delay_us=min(max(int((now - self._received_at) * 1e6), 0), 0xFFFF_FFFF),
            received_bytes=self._received_bytes,
            clock_us=int(self._received_at * 1e6),
            bad_records=self.statistics.bad_records,
            receive_overflows=receive_overflows,
            listed_below=listed_below,
            complete=self._ahead,
            partial=tuple((record, self._partial[record].missing) for record in listed[:MAX_PARTIAL]),
        )
