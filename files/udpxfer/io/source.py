"""The file to send: read record by record, never mapped (a shrinking file would kill the process), watched for changes."""

from __future__ import annotations

import hashlib
import os
import stat

from ..core.geometry import RECORD_BYTES
from ..errors import Code, TransferError

SAMPLE_BYTES = 65_536
"""What of its start and of its end goes into a file's identity: all of it would be one more pass over the file."""


class Source:
    """An open file. Raises TransferError when it is missing, not a regular file, or not readable."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = os.path.basename(path)
        try:
            # Non-blocking, so that a named pipe is refused below instead of waiting for its writer.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise TransferError(Code.SOURCE_MISSING, f"there is no file '{path}'") from error
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "it is not a regular file")
            self.size = status.st_size
            self._identity = _identity(status)
            self.source_id = self._digest_samples(status)
        except OSError as error:
            self.close()
            raise self._unreadable(error) from error

    def _digest_samples(self, status: os.stat_result) -> bytes:
        """16 bytes that stay the same as long as size, modification time, first and last bytes do."""
        digest = hashlib.blake2b(f"{self.size} {status.st_mtime_ns}".encode(), digest_size=16)
        digest.update(os.pread(self._descriptor, SAMPLE_BYTES, 0))
        digest.update(os.pread(self._descriptor, SAMPLE_BYTES, max(self.size - SAMPLE_BYTES, 0)))
        return digest.digest()

    def read(self, record: int, into: memoryview) -> None:
        """Fill ``into`` with the record's bytes. Raises TransferError (SOURCE_CHANGED) when the file has become shorter."""
        try:
            count = os.preadv(self._descriptor, [into], record * RECORD_BYTES)
        except OSError as error:
            raise self._unreadable(error) from error
        if count != len(into):
            raise self._changed()

    def verify(self) -> None:
        """Raises TransferError (SOURCE_CHANGED) when the file is not what it was when it was opened."""
        if _identity(os.fstat(self._descriptor)) != self._identity:
            raise self._changed()

    def sha256(self) -> str:
        """SHA-256 of the whole file in hexadecimal: one more pass over it."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(16 * RECORD_BYTES))
        offset = 0
        try:
            while count := os.preadv(self._descriptor, [buffer], offset):
                digest.update(buffer[:count])
                offset += count
        except OSError as error:
            raise self._unreadable(error) from error
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _unreadable(self, error: OSError) -> TransferError:
        return TransferError(Code.SOURCE_UNREADABLE, f"cannot read '{self.path}': {error.strerror}")

    def _changed(self) -> TransferError:
        return TransferError(Code.SOURCE_CHANGED, f"'{self.path}' changed while it was sent")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
