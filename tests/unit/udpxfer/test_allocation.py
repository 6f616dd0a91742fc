"""Reserved disk space: there before the first byte, and never at the price of what is written meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from udpxfer.io import allocation

NEVER_S = 1e9

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """An open empty file."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.fixture
def without_room(tmp_path: Path) -> Iterator[int]:
    """An open file in a file system of 1 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "udpxfer-test", tmp_path], check=True)
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_all_of_a_file_is_reserved_where_that_is_quick(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "STEP_CPU_S", NEVER_S)
    size = 2 * allocation.STEP_BYTES + 1
    allocation.reserve(descriptor, size)
    assert os.fstat(descriptor).st_blocks * 512 >= size


def test_the_rest_is_left_to_the_writes_where_it_is_not(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "STEP_CPU_S", 0.0)
    allocation.reserve(descriptor, 3 * allocation.STEP_BYTES)
    assert allocation.STEP_BYTES <= os.fstat(descriptor).st_blocks * 512 < 2 * allocation.STEP_BYTES


def test_what_is_written_already_stays(descriptor: int) -> None:
    os.pwrite(descriptor, b"written", 5000)
    allocation.reserve(descriptor, 10_000)
    assert os.pread(descriptor, 7, 5000) == b"written"


@needs_root
def test_no_room_is_told(without_room: int) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        allocation.reserve(without_room, 2_000_000)


def _refusing(number: int) -> Callable[[], tuple[Callable[..., int], Callable[[], int]]]:
    return lambda: ((lambda *_: -1), (lambda: number))


@pytest.mark.parametrize("find", [lambda: None, _refusing(errno.EOPNOTSUPP)], ids=["no ctypes", "no fallocate"])
def test_nothing_is_written_in_its_place(
    find: Callable[[], None], descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_find", find)
    allocation.reserve(descriptor, 1_000_000)
    assert os.fstat(descriptor).st_blocks == 0
