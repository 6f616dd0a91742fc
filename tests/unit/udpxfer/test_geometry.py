"""Sizes: every byte of a file is in exactly one segment, and no send exceeds what the kernel takes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from udpxfer.core.geometry import (
    HEADER_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_SEGMENTS,
    MIN_DATAGRAM_BYTES,
    RECORD_BYTES,
    TAG_BYTES,
    Geometry,
)

MAX_GSO_BYTES = 65_473  # what stays one kernel buffer on IPv6


@given(st.integers(0, 10 * RECORD_BYTES), st.integers(MIN_DATAGRAM_BYTES, MAX_DATAGRAM_BYTES))
def test_segments_cover_the_file(size: int, datagram_bytes: int) -> None:
    geometry = Geometry(size, datagram_bytes)
    assert sum(geometry.plain_bytes(record) for record in range(geometry.records)) == size
    for record in range(geometry.records):
        spans = [geometry.segment_span(record, index) for index in range(geometry.segments_of(record))]
        assert spans[0][0] == 0
        assert spans[-1][1] == geometry.plain_bytes(record) + TAG_BYTES
        assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
        assert all(end > start for start, end in spans)
        assert len(spans) <= MAX_SEGMENTS
        assert spans[-1][1] + len(spans) * HEADER_BYTES <= MAX_GSO_BYTES
        assert geometry.mask(record) == (1 << len(spans)) - 1


@pytest.mark.parametrize(("size", "datagram_bytes"), [(-1, 1472), (1, 1199), (1, 61_473), (2**60, 1472)])
def test_sizes_out_of_range_are_refused(size: int, datagram_bytes: int) -> None:
    with pytest.raises(ValueError, match="size"):
        Geometry(size, datagram_bytes)
