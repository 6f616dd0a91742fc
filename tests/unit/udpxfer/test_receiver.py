"""Spoiled segments: found one by one as soon as the sender has told their digests."""

from __future__ import annotations

import random

import pytest
from udpxfer.core import wire
from udpxfer.core.geometry import RECORD_BYTES, Geometry
from udpxfer.core.receiver import BufferPool, Burst, Receiver
from udpxfer.core.sealing import RecordCipher

KEY = bytes(32)
GEOMETRY = Geometry(2 * RECORD_BYTES, 1472)


@pytest.fixture
def plain(rng: random.Random) -> bytes:
    return rng.randbytes(RECORD_BYTES)


@pytest.fixture
def segments(plain: bytes) -> list[bytes]:
    """The first record's."""
    sealed = memoryview(bytearray(GEOMETRY.sealed_bytes(0)))
    RecordCipher(KEY).seal(0, plain, sealed)
    return [bytes(sealed[slice(*GEOMETRY.segment_span(0, index))]) for index in range(GEOMETRY.segments)]


@pytest.fixture
def pool() -> BufferPool:
    return BufferPool(2)


@pytest.fixture
def receiver(pool: BufferPool) -> Receiver:
    return Receiver(GEOMETRY, RecordCipher(KEY), pool, 8)


def give(receiver: Receiver, first: int, payloads: list[bytes]) -> bytes | None:
    """Deliver consecutive segments as one burst; returns the record if that completed it."""
    headers = b"".join(
        wire.DATA_HEADER.pack(wire.Kind.DATA, first + index, 0, 0, 7, 0, 1) for index in range(len(payloads))
    )
    burst = Burst(len(payloads), memoryview(headers), memoryview(b"".join(payloads)), GEOMETRY.segment_bytes)
    completed = receiver.receive_untrusted(burst, 0.0)
    return bytes(completed[1]) if completed else None


def spoiled(segment: bytes) -> bytes:
    return segment[:-1] + bytes([segment[-1] ^ 1])


def tell_digests(receiver: Receiver, segments: list[bytes]) -> bytes | None:
    completed = receiver.digests(*wire.digests_untrusted(wire.digests_body(0, segments)))
    return bytes(completed[1]) if completed else None


def missing(receiver: Receiver) -> int:
    return dict(receiver.ack(0.0, 0).partial)[0]


@pytest.mark.parametrize("at_once", [True, False])
def test_of_a_record_that_fails_only_the_spoiled_segment_is_missing(
    at_once: bool, receiver: Receiver, segments: list[bytes], plain: bytes
) -> None:
    arrived = [*segments[:5], spoiled(segments[5]), *segments[6:]]
    if at_once:
        assert give(receiver, 0, arrived) is None
    else:
        for index, payload in enumerate(arrived):
            assert give(receiver, index, [payload]) is None
    assert receiver.statistics.bad_records == 1
    assert missing(receiver) == GEOMETRY.full_mask
    assert tell_digests(receiver, segments) is None
    assert missing(receiver) == 1 << 5
    assert give(receiver, 5, [spoiled(segments[5])]) is None
    assert missing(receiver) == 1 << 5
    assert give(receiver, 5, [segments[5]]) == plain
    assert receiver.statistics.bad_records == 1


def test_digests_that_come_first_keep_spoiled_segments_out(
    receiver: Receiver, segments: list[bytes], plain: bytes
) -> None:
    assert tell_digests(receiver, segments) is None
    assert give(receiver, 0, [spoiled(segments[0]), *segments[1:-1]]) is None
    assert missing(receiver) == 1 | 1 << GEOMETRY.segments - 1
    assert give(receiver, GEOMETRY.segments - 1, segments[-1:]) is None
    assert give(receiver, 0, segments[:1]) == plain
    assert receiver.statistics.bad_records == 0


def test_digests_between_segments_find_what_was_spoiled_before(
    receiver: Receiver, segments: list[bytes], plain: bytes
) -> None:
    give(receiver, 0, [spoiled(segments[0]), *segments[1:10]])
    tell_digests(receiver, segments)
    assert missing(receiver) & 0b11 == 0b01
    assert give(receiver, 10, segments[10:]) is None
    assert give(receiver, 0, segments[:1]) == plain


def test_digests_of_what_is_complete_or_far_away_hold_no_buffer(
    receiver: Receiver, segments: list[bytes], pool: BufferPool
) -> None:
    assert give(receiver, 0, segments) is not None
    tell_digests(receiver, segments)
    with pytest.raises(wire.BadDatagram):
        receiver.digests(5, [bytes(8)] * GEOMETRY.segments)
    with pytest.raises(wire.BadDatagram):
        receiver.digests(1, [bytes(8)] * 3)
    assert receiver.ack(0.0, 0).partial == ()
    assert pool._unused == 2


def test_an_exhausted_pool_takes_what_needs_no_buffer(
    receiver: Receiver, segments: list[bytes], pool: BufferPool, plain: bytes
) -> None:
    while pool.take() is not None:
        pass
    assert give(receiver, 0, segments[:3]) is None
    assert tell_digests(receiver, segments) is None
    assert receiver.ack(0.0, 0).partial == ()
    assert give(receiver, 0, segments) == plain
