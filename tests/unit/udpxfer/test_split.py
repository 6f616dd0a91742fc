"""Datagrams that the kernel delivered together, in pieces of one send each."""

from __future__ import annotations

import random

from udpxfer.core import wire
from udpxfer.core.geometry import HEADER_BYTES, MAX_SEGMENTS
from udpxfer.core.receiver import Burst, split

SEGMENT_BYTES = 40


def segment(number: int, send: int, flags: int = 0, kind: int = wire.Kind.DATA) -> bytes:
    return wire.DATA_HEADER.pack(kind, number, flags, 0, 7, 3, send)


def pieces(headers: list[bytes], rng: random.Random) -> list[Burst]:
    """A burst of these datagrams, of which the last is short; what comes out must be the same bytes in the same order."""
    payload = rng.randbytes(len(headers) * SEGMENT_BYTES - 5)
    burst = Burst(len(headers), memoryview(b"".join(headers)), memoryview(payload), SEGMENT_BYTES)
    found = split(burst)
    assert b"".join(bytes(piece.headers) for piece in found) == burst.headers
    assert b"".join(bytes(piece.payload) for piece in found) == payload
    assert all(len(piece.headers) == piece.datagrams * HEADER_BYTES for piece in found)
    assert all(len(piece.payload) == piece.datagrams * SEGMENT_BYTES for piece in found[:-1])
    return found


def test_runs_of_sends_come_out_whole(rng: random.Random) -> None:
    for _ in range(200):
        sends = [(rng.randrange(MAX_SEGMENTS - 8), rng.randrange(1, 8)) for _ in range(rng.randrange(1, 6))]
        headers = [segment(first + at, number) for number, (first, count) in enumerate(sends) for at in range(count)]
        assert [piece.datagrams for piece in pieces(headers, rng)] == [count for _, count in sends]


def test_a_gap_another_flag_and_the_end_of_the_numbers_end_a_piece(rng: random.Random) -> None:
    headers = [segment(0, 1), segment(1, 1), segment(3, 1), segment(4, 1, wire.FLAG_ACK_NOW), segment(4, 1)]
    assert [piece.datagrams for piece in pieces(headers, rng)] == [2, 1, 1, 1]
    assert [piece.datagrams for piece in pieces([segment(255, 1), segment(0, 1)], rng)] == [1, 1]


def test_other_kinds_come_out_one_by_one(rng: random.Random) -> None:
    headers = [segment(number, 1, kind=wire.Kind.CONTROL) for number in range(3)]
    assert [piece.datagrams for piece in pieces(headers, rng)] == [1, 1, 1]
