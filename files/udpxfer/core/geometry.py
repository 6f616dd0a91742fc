"""Sizes: how a file is cut into records, and a record into segments. The only place that does this arithmetic."""

from __future__ import annotations

RECORD_BYTES = 61_440
"""Plain bytes of a record: 15 pages, so that file offsets stay page-aligned and a sealed record fits one GSO send."""

TAG_BYTES = 16
"""AES-GCM tag at the end of a sealed record."""

HEADER_BYTES = 16
"""Header of every datagram (``wire.DATA_HEADER``, ``wire.CONTROL_HEADER``)."""

SEALED_BYTES = RECORD_BYTES + TAG_BYTES

MAX_SEGMENTS = 64
"""Segments per record: what every kernel with UDP_SEGMENT takes in one send, and the bits of one u64 mask."""

MIN_DATAGRAM_BYTES = 1_200
"""RFC 9000 section 14: every usable path carries UDP payloads of this size."""

MAX_DATAGRAM_BYTES = HEADER_BYTES + SEALED_BYTES
"""A larger datagram gains nothing: one segment already holds a whole record."""

MAX_RECORDS = 0xFFFF_FFFF
"""Record numbers have 32 bits in a header: files of up to 264 TB."""


def mask_of(count: int) -> int:
    """The mask with the lowest ``count`` bits set."""
    return (1 << count) - 1


class Geometry:
    """Record and segment sizes of one transfer.

    ``file_bytes`` is the file's size, ``datagram_bytes`` the UDP payload of a full segment (header included).
    Raises ValueError when either is out of range.
    """

    def __init__(self, file_bytes: int, datagram_bytes: int) -> None:
        if not MIN_DATAGRAM_BYTES <= datagram_bytes <= MAX_DATAGRAM_BYTES:
            raise ValueError(f"datagram size {datagram_bytes} is not in {MIN_DATAGRAM_BYTES}..{MAX_DATAGRAM_BYTES}")
        # An empty file is one empty record: its tag proves emptiness the same way as any other content.
        self.records = max(1, -(-file_bytes // RECORD_BYTES))
        if file_bytes < 0 or self.records > MAX_RECORDS:
            raise ValueError(f"file size {file_bytes} is out of range")
        self.datagram_bytes = datagram_bytes
        self.segment_bytes = datagram_bytes - HEADER_BYTES
        self.last_record_bytes = file_bytes - (self.records - 1) * RECORD_BYTES
        self.segments = -(-SEALED_BYTES // self.segment_bytes)
        self.full_mask = mask_of(self.segments)

    def plain_bytes(self, record: int) -> int:
        """Plain bytes of ``record``."""
        return RECORD_BYTES if record < self.records - 1 else self.last_record_bytes

    def sealed_bytes(self, record: int) -> int:
        """Bytes of ``record`` on the wire without segment headers."""
        return self.plain_bytes(record) + TAG_BYTES

    def segments_of(self, record: int) -> int:
        """Number of segments of ``record``."""
        return self.segments if record < self.records - 1 else -(-self.sealed_bytes(record) // self.segment_bytes)

    def mask(self, record: int) -> int:
        """The mask with one bit for each segment of ``record``."""
        return self.full_mask if record < self.records - 1 else mask_of(self.segments_of(record))

    def segment_span(self, record: int, segment: int) -> tuple[int, int]:
        """Start and end of ``segment`` within the sealed ``record``, in bytes."""
        start = segment * self.segment_bytes
        return start, min(start + self.segment_bytes, self.sealed_bytes(record))
