"""Reads a qcow2 disk image (version 2 or 3, zlib, no backing file, no encryption) into a sparse raw file.

Written here because qemu-img would bring some 50 MB of packages to read one pinned file.
Format: https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from .system import LabError

MAGIC = b"QFI\xfb"
OFFSET_MASK = 0x00FFFFFFFFFFFE00
COMPRESSED = 1 << 62
READS_AS_ZEROS = 1
HEADER = struct.Struct(">4sIQIIQIIQ")
SECTOR_BYTES = 512


def to_raw(source: Path, target: Path) -> None:
    """Write the guest's disk in `source` to `target`; raise LabError for what this reader does not know."""
    with source.open("rb") as disk, target.open("wb") as raw:
        header = disk.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise LabError(f"{source}: not a qcow2 image")
        _, version, backing, _, cluster_bits, size, encrypted, l1_entries, l1_offset = HEADER.unpack(header)
        if version not in (2, 3) or backing or encrypted:
            raise LabError(f"{source}: only plain qcow2 (version 2 or 3, no backing file, not encrypted) can be read")
        cluster_bytes = 1 << cluster_bits
        raw.truncate(size)
        disk.seek(l1_offset)
        l1_table = struct.unpack(f">{l1_entries}Q", disk.read(8 * l1_entries))
        for l1_index, l1_entry in enumerate(l1_table):
            if not (l2_offset := l1_entry & OFFSET_MASK):
                continue
            disk.seek(l2_offset)
            l2_table = struct.unpack(f">{cluster_bytes // 8}Q", disk.read(cluster_bytes))
            for l2_index, entry in enumerate(l2_table):
                if entry & COMPRESSED:
                    disk_offset, length = _compressed_extent(entry, cluster_bits)
                    disk.seek(disk_offset)
                    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(disk.read(length), cluster_bytes)
                elif entry & OFFSET_MASK and not entry & READS_AS_ZEROS:
                    disk.seek(entry & OFFSET_MASK)
                    data = disk.read(cluster_bytes)
                else:
                    continue
                raw.seek((l1_index * len(l2_table) + l2_index) * cluster_bytes)
                raw.write(data)


def _compressed_extent(entry: int, cluster_bits: int) -> tuple[int, int]:
    """Offset and length in bytes of a compressed cluster; the length is counted in whole sectors."""
    length_shift = 62 - (cluster_bits - 8)
    offset = entry & ((1 << length_shift) - 1)
    sectors = (entry & (COMPRESSED - 1)) >> length_shift
    return offset, (sectors + 1) * SECTOR_BYTES - offset % SECTOR_BYTES
