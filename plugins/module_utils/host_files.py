"""Files of a host or of the controller: written whole, digested, and trusted nowhere that another user may write."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def rights_of(user: str) -> Iterator[pwd.struct_passwd]:
    """Act with this user's rights only: then a link of the user's leads nowhere that the user could not go itself.

    Raises KeyError when there is no such user.
    """
    account = pwd.getpwnam(user)
    uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
    if account.pw_uid == uid:  # who is this user already may not, and need not, become it
        yield account
        return
    os.setgroups([])
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield account
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def put_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write the whole file or leave the former one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


def open_file(path: str | Path, folder: int | None = None) -> BinaryIO:
    """Open a file for reading. Raises OSError when it is a link, a pipe or anything else but a plain file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return os.fdopen(handle, "rb")


def sha256(stream: BinaryIO) -> str:
    """Hex digest of an open file."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def tail(path: Path, count: int) -> str:
    """The last lines of a log, or why there are none."""
    try:
        with open_file(path) as stream:
            lines = stream.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return f"{path}: not there"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "\n".join([f"{path}, last lines:", *lines]) if lines else f"{path}: empty"
