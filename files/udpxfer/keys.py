"""The pre-shared key: 32 random bytes in a file that only its owner may read."""

from __future__ import annotations

import binascii
import contextlib
import os
import stat

from .errors import Code, TransferError

KEY_BYTES = 32


def generate(path: str) -> None:
    """Write a new key as one hexadecimal line, mode 0600, whole or not at all. Raises TransferError; never overwrites."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, os.urandom(KEY_BYTES).hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(temporary, path)
    except FileExistsError as error:
        raise TransferError(Code.KEY_EXISTS, f"'{path}' exists") from error
    except OSError as error:
        raise TransferError(
            Code.KEY_INVALID, f"cannot write '{path}': {error.strerror}", "choose a directory that this user may write"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def load(path: str) -> bytes:
    """The key in the file. Raises TransferError when it is missing, malformed, or readable by others."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(1024).strip()
    except FileNotFoundError as error:
        raise TransferError(Code.KEY_MISSING, f"there is no key file '{path}'") from error
    except OSError as error:
        raise TransferError(
            Code.KEY_MISSING, f"cannot read the key file '{path}': {error.strerror}", "run as the key's owner"
        ) from error
    if mode & 0o077:
        raise TransferError(Code.KEY_EXPOSED, f"others may read the key file '{path}' (mode {mode:04o})")
    try:
        key = binascii.unhexlify(text)
    except binascii.Error as error:
        raise TransferError(Code.KEY_INVALID, f"'{path}' is not a key file") from error
    if len(key) != KEY_BYTES:
        raise TransferError(Code.KEY_INVALID, f"'{path}' holds {len(key)} bytes, a key has {KEY_BYTES}")
    return key
