"""Disk space reserved by fallocate(2).

Python offers posix_fallocate only. Where a file system cannot reserve, glibc emulates it: it reads and writes back a byte of each block, which
undoes what another thread writes meanwhile (posix_fallocate(3), caveats).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

STEP_BYTES = 8 * 1024 * 1024
STEP_CPU_S = 0.00025
"""A file system that merely notes a reservation needs some microseconds for a step. One that takes longer fills the file page by page
(tmpfs): that costs as much as the writes, which have to wait for it, so the rest is left to these."""

_NOT_TO_BE_HAD = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EINTR})


def _find() -> tuple[Callable[..., int], Callable[[], int]] | None:
    """fallocate(2) with 64-bit offsets and what tells its error; None on a Python without ctypes."""
    try:
        import ctypes
    except ImportError:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "fallocate64", None) or libc.fallocate  # musl has one name, its offsets are 64-bit anyway
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call, ctypes.get_errno


def reserve(descriptor: int, size: int) -> None:
    """Reserve the first ``size`` bytes of a file, where and as far as that is quick. Raises OSError when there is no room."""
    found = _find()
    if found is None:
        return
    call, error_number = found
    for start in range(0, size, STEP_BYTES):
        began = time.thread_time()
        if call(descriptor, 0, start, min(STEP_BYTES, size - start)):
            number = error_number()
            if number in _NOT_TO_BE_HAD:
                return
            raise OSError(number, os.strerror(number))
        if time.thread_time() - began > STEP_CPU_S:
            return
