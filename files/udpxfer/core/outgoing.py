"""Sealed records on their way out, as scatter lists of their segments: the kernel joins them, Python copies nothing."""

from __future__ import annotations

from typing import Protocol

from .geometry import HEADER_BYTES, MAX_SEGMENTS, SEALED_BYTES, Geometry
from .sealing import RecordCipher
from .wire import DATA_HEADER, SEGMENT_NUMBERS, Kind


class Source(Protocol):
    """The file to send."""

    def read(self, record: int, into: memoryview) -> None:
        """Fill ``into`` with the record's bytes. Raises TransferError."""

    def verify(self) -> None:
        """Raises TransferError (SOURCE_CHANGED) when the file is not what it was when it was offered."""


class SegmentTable:
    """Headers of up to 64 segments in one block, and the scatter list of a record's segments with them."""

    def __init__(self, session: int, segment_bytes: int) -> None:
        self._session = session
        self._segment_bytes = segment_bytes
        self._block = bytearray(HEADER_BYTES * MAX_SEGMENTS)
        view = memoryview(self._block)
        self._headers = [view[i * HEADER_BYTES : (i + 1) * HEADER_BYTES] for i in range(MAX_SEGMENTS)]

    def pairs(self, sealed: memoryview) -> list[memoryview]:
        """Header and payload views of every segment of a sealed record; built once for each buffer."""
        pairs: list[memoryview] = []
        for index, start in enumerate(range(0, len(sealed), self._segment_bytes)):
            pairs += (self._headers[index], sealed[start : start + self._segment_bytes])
        return pairs

    def stamp(self, record: int, number: int, flags: int) -> None:
        """Write the headers for one send of ``record``."""
        header = DATA_HEADER.pack(Kind.DATA, 0, flags, 0, self._session, record, number)
        self._block[:] = header * MAX_SEGMENTS
        self._block[1::HEADER_BYTES] = SEGMENT_NUMBERS


class SealedRecords:
    """Sealed records in flight: each is read and sealed once, and its buffer kept until it is acknowledged."""

    def __init__(self, source: Source, geometry: Geometry, cipher: RecordCipher, table: SegmentTable) -> None:
        self._source = source
        self._geometry = geometry
        self._cipher = cipher
        self._table = table
        self._plain = memoryview(bytearray(SEALED_BYTES))
        self._free: list[tuple[memoryview, list[memoryview]]] = []
        self._used: dict[int, tuple[memoryview, list[memoryview]]] = {}
        self.sealed = 0

    def segments(self, record: int) -> list[memoryview]:
        """Header and payload views of all segments of ``record``. Raises TransferError (source)."""
        used = self._used.get(record)
        if used is None:
            used = self._used[record] = self._seal(record)
        return used[1]

    def _seal(self, record: int) -> tuple[memoryview, list[memoryview]]:
        plain = self._plain[: self._geometry.plain_bytes(record)]
        self._source.read(record, plain)
        if self._free and record < self._geometry.records - 1:
            buffer, pairs = self._free.pop()
        else:
            buffer = memoryview(bytearray(self._geometry.sealed_bytes(record)))
            pairs = self._table.pairs(buffer)
        self._cipher.seal(record, plain, buffer)
        self.sealed += 1
        return buffer, pairs

    def release(self, record: int) -> None:
        """The record is at the receiver: its buffer may serve another one."""
        used = self._used.pop(record, None)
        if used is not None and len(used[0]) == SEALED_BYTES:
            self._free.append(used)


def select_segments(segments: list[memoryview], mask: int) -> list[memoryview]:
    """The header and payload views of the segments in ``mask``."""
    first, last = (mask & -mask).bit_length() - 1, mask.bit_length()
    if mask >> first == (1 << (last - first)) - 1:
        return segments[2 * first : 2 * last]
    return [view for index in range(first, last) if mask >> index & 1 for view in segments[2 * index : 2 * index + 2]]
