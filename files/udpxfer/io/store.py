"""Received files on disk: hidden while incomplete, journalled as far as they are durable, published whole or not at all.

A file being received is ``.udpxfer-ID.part`` beside its final place, with ``.udpxfer-ID.journal``. The journal names only
records that were synced to disk before (the rule of wdt's transfer log): losing its tail costs a resend, never content.
Publishing syncs the data, links the final name (which fails when it exists), and syncs the directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator

from ..core.geometry import RECORD_BYTES
from ..core.wire import Offer
from ..errors import Code, TransferError

PREFIX = ".udpxfer-"
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
MAX_NAME_BYTES = 255
FREE_RESERVE_BYTES = 64 * 1024 * 1024
"""Left free on the file system (a twentieth of a small one): a full disk must stop transfers, not the host."""

PREALLOCATION_BYTES = 8 * 1024 * 1024

_ENTRY = struct.Struct(">III")  # first record, last record, CRC-32 of the two
_PUBLISHED = struct.Struct(">I8s")  # a mark that is no range, and the attempt that published
_PUBLISHED_MARK = 0xFFFF_FFFF
_NO_PREALLOCATION = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_NO_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

Ranges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is on disk of an offered file already."""

    stored: Ranges = ()
    published: bool = False  # by an earlier session of the same attempt, whose last message was lost


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a receiver takes."""

    file_bytes: int | None = None
    total_bytes: int | None = None
    sessions: int = 64
    overwrite: bool = False


def check_name(name: str) -> None:
    """Raises TransferError (BAD_NAME) unless ``name`` is one plain path component."""
    if (
        not name
        or name in (".", "..")
        or name.startswith(PREFIX)
        or "/" in name
        or any(ord(c) < 32 or ord(c) == 127 for c in name)
        or len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES
    ):
        raise TransferError(Code.BAD_NAME, f"{name!r} is not a usable file name")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise TransferError(Code.BAD_NAME, f"{name!r} is not valid UTF-8") from error


def check_label(label: str) -> None:
    """Raises TransferError (BAD_LABEL) unless ``label`` is empty or one or two plain components."""
    if label and not LABEL.fullmatch(label):
        raise TransferError(Code.BAD_LABEL, f"{label!r} is not a usable label")


def _storage_error(error: OSError, what: str) -> TransferError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return TransferError(Code.DISK_FULL if full else Code.STORE_FAILED, f"{what}: {error.strerror}")


@contextlib.contextmanager
def _storage(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(error, what) from error


class Store:
    """The directory that a receiver writes below. Raises TransferError (STORE_FAILED) when it cannot be used."""

    def __init__(self, root: str, limits: Limits) -> None:
        self._limits = limits
        self._stored_bytes = 0
        with _storage(f"cannot use the directory '{root}'"):
            os.makedirs(root, exist_ok=True)
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            probe = f"{PREFIX}probe-{os.getpid()}"
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._root))
            os.unlink(probe, dir_fd=self._root)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def plan(self, offer: Offer) -> Plan:
        """What is on disk of ``offer`` already. Raises TransferError when the file is not wanted.

        Writes nothing: the offer may be a replay.
        """
        check_name(offer.name)
        check_label(offer.label)
        limits = self._limits
        if limits.file_bytes is not None and offer.file_bytes > limits.file_bytes:
            raise TransferError(Code.FILE_TOO_LARGE, f"{offer.file_bytes} bytes, at most {limits.file_bytes} are taken")
        if limits.total_bytes is not None and self._stored_bytes + offer.file_bytes > limits.total_bytes:
            raise TransferError(Code.TOTAL_LIMIT, f"the receiver takes {limits.total_bytes} bytes in all")
        with _storage(f"cannot look for '{offer.name}'"):
            try:
                directory = self._open_directory(offer.label, create=False)
            except FileNotFoundError:
                self._check_space(self._root, offer.file_bytes)
                return Plan()
            try:
                return self._plan_in(directory, offer)
            finally:
                os.close(directory)

    def _plan_in(self, directory: int, offer: Offer) -> Plan:
        journal = _read_journal(offer, directory)
        if _exists(offer.name, directory):
            if journal.published_by == offer.attempt:
                return Plan(published=True)
            if not self._limits.overwrite:
                where = f" below '{offer.label}'" if offer.label else ""
                raise TransferError(Code.FILE_EXISTS, f"'{offer.name}' exists{where}")
        done = sum(last - first + 1 for first, last in journal.stored) * RECORD_BYTES
        self._check_space(directory, max(offer.file_bytes - done, 0))
        return Plan(journal.stored)

    def create(self, offer: Offer, stored: Ranges) -> Incoming:
        """The partial file of ``offer``, continued when ``stored`` names records. Raises TransferError."""
        with _storage(f"cannot create '{offer.name}'"):
            directory = self._open_directory(offer.label, create=True)
        self._stored_bytes += offer.file_bytes
        try:
            return Incoming(offer, directory, stored, self._limits.overwrite)
        except TransferError:
            os.close(directory)
            raise

    def _check_space(self, directory: int, wanted: int) -> None:
        status = os.fstatvfs(directory)
        reserve = min(FREE_RESERVE_BYTES, status.f_blocks * status.f_frsize // 20)
        if status.f_bavail * status.f_frsize < wanted + reserve:
            raise TransferError(Code.DISK_FULL, f"{wanted} bytes do not fit ({reserve} bytes are kept free)")

    def _open_directory(self, label: str, create: bool) -> int:
        """A descriptor of the label's directory; symbolic links are never followed."""
        directory = os.dup(self._root)
        for component in filter(None, label.split("/")):
            try:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(component, 0o777, dir_fd=directory)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(component, flags, dir_fd=directory)
            finally:
                os.close(directory)
            directory = inner
        return directory


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _hidden_name(name: str, suffix: str) -> str:
    return f"{PREFIX}{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}.{suffix}"


def _journal_header(offer: Offer) -> bytes:
    """First line of a journal: a journal of another source, size or version does not count."""
    fields = {"version": 1, "name": offer.name, "bytes": offer.file_bytes, "source": offer.source_id.hex()}
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


@dataclasses.dataclass(frozen=True)
class _Journal:
    """What a journal vouches for."""

    stored: Ranges = ()
    published_by: bytes = b""


def _read_journal(offer: Offer, directory: int) -> _Journal:
    """The journal of the offered file; entries behind a damaged one do not count."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(_hidden_name(offer.name, "journal"), flags, dir_fd=directory), "rb") as journal:
            if journal.readline(4096) != _journal_header(offer):
                return _Journal()
            content = journal.read()
    except OSError:
        return _Journal()
    ranges: list[tuple[int, int]] = []
    published_by = b""
    for offset in range(0, len(content) - _ENTRY.size + 1, _ENTRY.size):
        entry = content[offset : offset + _ENTRY.size]
        first, last, check = _ENTRY.unpack(entry)
        if first == _PUBLISHED_MARK:
            published_by = _PUBLISHED.unpack(entry)[1]
        elif check == zlib.crc32(entry[:8]) and first <= last:
            ranges.append((first, last))
        else:
            break
    try:
        part = os.stat(_hidden_name(offer.name, "part"), dir_fd=directory, follow_symlinks=False)
        whole = part.st_size == offer.file_bytes
    except OSError:
        whole = False
    return _Journal(_merge(ranges) if whole else (), published_by)


def _merge(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


class Incoming:
    """A file being received. `write` belongs to the loop; the other work may run in one other thread at a time."""

    def __init__(self, offer: Offer, directory: int, stored: Ranges, overwrite: bool) -> None:
        self._offer = offer
        self._directory = directory
        self._overwrite = overwrite
        self._part_name = _hidden_name(offer.name, "part")
        self._journal_name = _hidden_name(offer.name, "journal")
        self._unsynced: list[tuple[int, int]] = []
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        fresh = 0 if stored else os.O_CREAT | os.O_TRUNC
        with _storage(f"cannot create '{offer.name}'"):
            # The journal goes first: it must never vouch for a part that was truncated.
            self._journal = os.open(self._journal_name, flags | fresh | os.O_APPEND, 0o600, dir_fd=directory)
            try:
                if not stored:
                    os.write(self._journal, _journal_header(offer))
                    os.fdatasync(self._journal)
                self._part = os.open(self._part_name, flags | fresh, 0o666, dir_fd=directory)
                os.ftruncate(self._part, offer.file_bytes)
            except OSError:
                os.close(self._journal)
                raise

    def preallocate(self) -> None:
        """Reserve the disk space of the whole file. Raises TransferError (DISK_FULL)."""
        size = self._offer.file_bytes
        with _storage(f"no room for '{self._offer.name}'"):
            try:
                # In steps, since the file cannot be written to while the file system reserves.
                for start in range(0, size, PREALLOCATION_BYTES):
                    os.posix_fallocate(self._part, start, min(PREALLOCATION_BYTES, size - start))
            except OSError as error:
                if error.errno not in _NO_PREALLOCATION:
                    raise

    def write(self, record: int, plain: memoryview) -> None:
        """Write a record. Raises TransferError."""
        try:
            written = os.pwrite(self._part, plain, record * RECORD_BYTES)
        except OSError as error:
            raise _storage_error(error, f"cannot write '{self._offer.name}'") from error
        if written != len(plain):
            raise TransferError(Code.DISK_FULL, f"'{self._offer.name}': the disk took only a part of a record")
        ranges = self._unsynced
        if ranges and ranges[-1][1] == record - 1:
            ranges[-1] = (ranges[-1][0], record)
        else:
            ranges.append((record, record))

    def take_unsynced(self) -> list[tuple[int, int]]:
        """The ranges written since the last call, to be handed to `sync`."""
        ranges, self._unsynced = self._unsynced, []
        return ranges

    def sync(self, ranges: list[tuple[int, int]]) -> None:
        """Make the data durable, then say so in the journal. Raises TransferError."""
        with _storage(f"cannot sync '{self._offer.name}'"):
            os.fdatasync(self._part)
            entries = (struct.pack(">II", first, last) for first, last in _merge(ranges))
            os.write(self._journal, b"".join(entry + struct.pack(">I", zlib.crc32(entry)) for entry in entries))
            os.fdatasync(self._journal)

    def publish(self) -> None:
        """Give the file its name, durably. Raises TransferError; FILE_EXISTS when somebody was faster."""
        name, directory = self._offer.name, self._directory
        with _storage(f"cannot publish '{name}'"):
            os.fsync(self._part)
            # If we die before DONE arrives, the sender's next offer of this attempt learns from here that it succeeded.
            os.write(self._journal, _PUBLISHED.pack(_PUBLISHED_MARK, self._offer.attempt))
            os.fdatasync(self._journal)
            if self._overwrite:
                os.replace(self._part_name, name, src_dir_fd=directory, dst_dir_fd=directory)
            else:
                self._link(name)
            os.fsync(directory)

    def _link(self, name: str) -> None:
        directory = self._directory
        try:
            os.link(self._part_name, name, src_dir_fd=directory, dst_dir_fd=directory)
        except FileExistsError as error:
            raise TransferError(Code.FILE_EXISTS, f"'{name}' exists") from error
        except OSError as error:
            # A file system without hard links: only this process writes here, so a look before the rename suffices.
            if error.errno not in _NO_LINK:
                raise
            if _exists(name, directory):
                raise TransferError(Code.FILE_EXISTS, f"'{name}' exists") from error
            os.rename(self._part_name, name, src_dir_fd=directory, dst_dir_fd=directory)
            return
        os.unlink(self._part_name, dir_fd=directory)

    def close(self, keep: bool) -> None:
        """Close the file; with ``keep`` leave the hidden files for a later resume."""
        for descriptor in (self._part, self._journal):
            with contextlib.suppress(OSError):  # what counts was synced before
                os.close(descriptor)
        if not keep:
            # The part goes first: a journal alone vouches for nothing.
            for name in (self._part_name, self._journal_name):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=self._directory)
        os.close(self._directory)
