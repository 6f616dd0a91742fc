"""The receiving side of a session as a state machine without I/O: segments become records, what is missing is told.

The loop hands in bursts of segments, writes the records that `receive_untrusted` returns, and sends `ack` when it is due. Nothing
that a peer sends raises out of here except BadDatagram.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from .geometry import HEADER_BYTES, MAX_SEGMENTS, SEALED_BYTES, Geometry, mask_of
from .sealing import RecordCipher
from .wire import DATA_HEADER, FLAG_ACK_NOW, MAX_PARTIAL, Ack, BadDatagram, Kind

ACK_DELAY_S = 0.025
"""An acknowledgement that nobody asked for follows the data after this time (RFC 9000 section 18.2: max_ack_delay)."""

SEGMENT_NUMBERS = bytes(range(MAX_SEGMENTS))


class Burst(NamedTuple):
    """Datagrams of one sender that the kernel delivered together: headers and payloads, each contiguous.

    All payloads but the last have the same length; ``payload`` ends where the last one ends.
    """

    datagrams: int
    headers: memoryview
    payload: memoryview
    segment_bytes: int


def split(burst: Burst) -> list[Burst]:
    """The burst itself when it is uniform (consecutive segments of one send), else each datagram alone."""
    if burst.datagrams == 1:
        return [burst]
    first = bytes(burst.headers[:HEADER_BYTES])
    expected = bytearray(first * burst.datagrams)
    expected[1::HEADER_BYTES] = SEGMENT_NUMBERS[first[1] : first[1] + burst.datagrams].ljust(burst.datagrams, b"\xff")
    if first[0] == Kind.DATA and expected == burst.headers:
        return [burst]
    size = burst.segment_bytes
    return [
        Burst(
            1,
            burst.headers[index * HEADER_BYTES : (index + 1) * HEADER_BYTES],
            burst.payload[index * size : (index + 1) * size],
            size,
        )
        for index in range(burst.datagrams)
    ]


def _ones(mask: int) -> int:
    """Length of the run of set bits at the bottom of ``mask``."""
    return ((mask + 1) & ~mask).bit_length() - 1


class BufferPool:
    """Buffers of one sealed record each, lent to incomplete records; bounded, so that senders cannot fill the memory."""

    def __init__(self, limit: int) -> None:
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
    duplicates: int = 0
    bad_records: int = 0


class _Partial:
    """A record of which some segments are here."""

    __slots__ = ("buffer", "missing")

    def __init__(self, buffer: bytearray, missing: int) -> None:
        self.buffer = buffer
        self.missing = missing


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
        self._ack_at: float | None = None
        self._plain = memoryview(bytearray(SEALED_BYTES))
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
        if flags & FLAG_ACK_NOW:
            self._ack_at = now
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY_S
        if self._is_complete(record):
            self.statistics.duplicates += count
            return None
        if record >= self._cumulative + self._window:
            return None
        return self._assemble(record, first, count, start, payload)

    def _assemble(
        self, record: int, first: int, count: int, start: int, payload: memoryview
    ) -> tuple[int, memoryview] | None:
        size = self.geometry.sealed_bytes(record)
        partial = self._partial.get(record)
        if partial is None:
            if len(payload) == size:
                return self._open(record, payload)
            buffer = self._pool.take()
            if buffer is None:
                return None
            partial = self._partial[record] = _Partial(buffer, self.geometry.mask(record))
        mask = mask_of(count) << first
        new = partial.missing & mask
        if new != mask:
            self.statistics.duplicates += count - bin(new).count("1")
        partial.buffer[start : start + len(payload)] = payload
        partial.missing &= ~mask
        if partial.missing:
            return None
        opened = self._open(record, memoryview(partial.buffer)[:size])
        if opened is None:
            partial.missing = self.geometry.mask(record)
        else:
            del self._partial[record]
            self._pool.give(partial.buffer)
        return opened

    def _open(self, record: int, sealed: memoryview) -> tuple[int, memoryview] | None:
        plain = self._plain[: self.geometry.plain_bytes(record)]
        if not self._cipher.open(record, sealed, plain):
            self.statistics.bad_records += 1
            return None
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

    @property
    def ack_at(self) -> float | None:
        """When an acknowledgement is due; None when nothing new arrived."""
        return self._ack_at

    def ack(self, now: float, overflows: int) -> Ack:
        """The acknowledgement that describes what is here now; ``overflows`` as the kernel counts them."""
        self._ack_at = None
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
            overflows=overflows,
            listed_below=listed_below,
            complete=self._ahead,
            partial=tuple((record, self._partial[record].missing) for record in listed[:MAX_PARTIAL]),
        )
