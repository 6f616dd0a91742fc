"""The qcow2 reader against images written here, cluster by cluster, after the format's description."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import pytest
from alpinelab import qcow2
from alpinelab.system import LabError

CLUSTER_BITS = 12
CLUSTER = 1 << CLUSTER_BITS
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZEROS = 1


def header(version: int = 3, backing: int = 0, size: int = 0, encrypted: int = 0, l1_entries: int = 1) -> bytes:
    fields = (b"QFI\xfb", version, backing, 0, CLUSTER_BITS, size, encrypted, l1_entries, CLUSTER)
    return struct.pack(">4sIQIIQIIQ", *fields).ljust(CLUSTER, b"\0")


def compressed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def image(clusters: list[tuple[str, bytes]]) -> bytes:
    """Header, L1 table, one L2 table, then data; a compressed cluster begins at an odd place on purpose."""
    entries, data = [], bytearray()
    start = 3 * CLUSTER
    for kind, content in clusters:
        if kind == "plain":
            data += b"\0" * (-len(data) % CLUSTER)
            entries.append(COPIED | start + len(data))
            data += content
        elif kind == "compressed":
            data += b"\xff" * 77
            offset, packed = start + len(data), compressed(content)
            sectors = (offset % 512 + len(packed) + 511) // 512 - 1
            entries.append(COMPRESSED | sectors << (62 - (CLUSTER_BITS - 8)) | offset)
            data += packed
        else:
            entries.append(COPIED | start | ZEROS if kind == "zeros" else 0)  # zeros that have room set aside
    l1 = struct.pack(">Q", COPIED | 2 * CLUSTER).ljust(CLUSTER, b"\0")
    l2 = struct.pack(f">{len(entries)}Q", *entries).ljust(CLUSTER, b"\0")
    return header(size=len(clusters) * CLUSTER) + l1 + l2 + bytes(data) + b"\0" * 512


def test_reads_plain_compressed_zero_and_absent_clusters(tmp_path: Path, rng: random.Random) -> None:
    noise, text = rng.randbytes(CLUSTER), (b"udpxfer " * CLUSTER)[:CLUSTER]
    kinds = [
        ("plain", noise),
        ("compressed", text),
        ("absent", b""),
        ("zeros", b""),
        ("compressed", noise),
        ("plain", text),
    ]
    source, target = tmp_path / "disk.qcow2", tmp_path / "disk.raw"
    source.write_bytes(image(kinds))
    qcow2.to_raw(source, target)
    assert target.read_bytes() == noise + text + bytes(2 * CLUSTER) + noise + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a qcow2 image"),
        (b"PK\3\4" + bytes(200), "not a qcow2 image"),
        (header(version=4), "only plain qcow2"),
        (header(backing=512), "only plain qcow2"),
        (header(encrypted=1), "only plain qcow2"),
    ],
)
def test_refuses_what_it_cannot_read(tmp_path: Path, content: bytes, message: str) -> None:
    source = tmp_path / "disk.qcow2"
    source.write_bytes(content)
    with pytest.raises(LabError, match=message):
        qcow2.to_raw(source, tmp_path / "disk.raw")
