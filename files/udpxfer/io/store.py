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
import struct
import threading
import zlib
from collections.abc import Callable, Iterator

from ..core.geometry import RECORD_BYTES
from ..core.names import HIDDEN_PREFIX, check_label, check_name
from ..core.sessions import Limits, Plan, Ranges
from ..core.wire import Offer
from ..errors import Code, TransferError
from .allocation import reserve

FREE_RESERVE_BYTES = 64 * 1024 * 1024
"""Left free on the file system (a twentieth of a small one): a full disk must stop transfers, not the host."""

_ENTRY = struct.Struct(">III")  # first record, last record, CRC-32 of the two
_PUBLISHED = struct.Struct(">I8s")  # a mark that is no range, and the identity of the published file
_PUBLISHED_MARK = 0xFFFF_FFFF
_NO_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


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
        self._published_bytes = 0
        self._unfinished: dict[tuple[str, str], int] = {}  # bytes of each file that has a part, by label and name
        self._incoming: set[Incoming] = set()
        self._leftovers_lock = threading.Lock()
        with _storage(f"cannot use the directory '{root}'"):
            os.makedirs(root, exist_ok=True)
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            probe = f"{HIDDEN_PREFIX}probe-{os.getpid()}"
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=self._root))
            os.unlink(probe, dir_fd=self._root)
            self._leftovers = set(_journals(os.dup(self._root), "", depth=2))

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
        others = sum(size for target, size in self._unfinished.items() if target != (offer.label, offer.name))
        wanted = self._published_bytes + others + offer.file_bytes
        if limits.total_bytes is not None and wanted > limits.total_bytes:
            raise TransferError(Code.TOTAL_LIMIT, f"the receiver takes {limits.total_bytes} bytes in all")
        with _storage(f"cannot look for '{offer.name}'"):
            try:
                with self._directories(offer.label) as directories:
                    return self._plan_in(directories[-1], offer)
            except FileNotFoundError:
                self._check_space(self._root, offer.file_bytes)
                return Plan()

    def _plan_in(self, directory: int, offer: Offer) -> Plan:
        journal = _read_journal(offer, directory)
        there = _status(offer.name, directory)
        if there is not None:
            if journal.published == _identity(there):
                return Plan(published=True)
            if not self._limits.overwrite:
                where = f" below '{offer.label}'" if offer.label else ""
                raise TransferError(Code.FILE_EXISTS, f"'{offer.name}' exists{where}")
        part = _status(_hidden_name(offer.name, "part"), directory)
        self._check_space(directory, _unallocated_bytes(offer, part) if part else offer.file_bytes)
        return Plan(journal.stored)

    def create(self, offer: Offer, stored: Ranges) -> Incoming:
        """The partial file of ``offer``, continued when ``stored`` names records. Raises TransferError."""
        with self._leftovers_lock:
            self._leftovers.discard((offer.label, _hidden_name(offer.name, "journal")))
        with _storage(f"cannot create '{offer.name}'"):
            directories = self._open_directories(offer.label, create=True)
        self._unfinished[offer.label, offer.name] = offer.file_bytes
        try:
            incoming = Incoming(offer, directories, stored, self._limits.overwrite, self._on_close)
        except TransferError:
            _close(directories)
            raise
        self._incoming.add(incoming)
        return incoming

    def _on_close(self, incoming: Incoming, keep: bool) -> None:
        """Account for a file that has its final name, whose part is gone, or whose part waits for a resume."""
        self._incoming.discard(incoming)
        if incoming.published or not keep:
            size = self._unfinished.pop((incoming.offer.label, incoming.offer.name), 0)
            self._published_bytes += size if incoming.published else 0

    def sync_published(self, offer: Offer) -> None:
        """Make durable what a receiver that died has published. Raises TransferError."""
        with _storage(f"cannot sync '{offer.name}'"), self._directories(offer.label) as directories:
            _sync(directories)

    def discard(self, offer: Offer) -> None:
        """Remove what is left of a published file's way here."""
        with contextlib.suppress(OSError), self._directories(offer.label) as directories:
            _remove(*(_hidden_name(offer.name, suffix) for suffix in ("part", "journal")), directory=directories[-1])

    def sweep(self) -> None:
        """Remove what a receiver that died left of published files; what can be resumed stays."""
        for label, journal in list(self._leftovers):
            with self._leftovers_lock, contextlib.suppress(OSError), self._directories(label) as directories:
                mark = _read_hidden(journal, directories[-1])[-_ENTRY.size :]
                published = len(mark) == _ENTRY.size and _PUBLISHED.unpack(mark)[0] == _PUBLISHED_MARK
                if published and (label, journal) in self._leftovers:  # else a session has it now
                    _remove(journal[: -len("journal")] + "part", journal, directory=directories[-1])

    def _check_space(self, directory: int, wanted: int) -> None:
        status = os.fstatvfs(directory)
        kept = min(FREE_RESERVE_BYTES, status.f_blocks * status.f_frsize // 20)
        kept += sum(incoming.unallocated_bytes() for incoming in self._incoming)
        if status.f_bavail * status.f_frsize < wanted + kept:
            raise TransferError(Code.DISK_FULL, f"{wanted} bytes do not fit ({kept} bytes are kept free)")

    @contextlib.contextmanager
    def _directories(self, label: str) -> Iterator[list[int]]:
        directories = self._open_directories(label, create=False)
        try:
            yield directories
        finally:
            _close(directories)

    def _open_directories(self, label: str, create: bool) -> list[int]:
        """Descriptors of the root, the label's directories, and so on down; symbolic links are never followed."""
        directories = [os.dup(self._root)]
        try:
            for component in filter(None, label.split("/")):
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(component, 0o777, dir_fd=directories[-1])
                directories.append(os.open(component, _DIRECTORY, dir_fd=directories[-1]))
        except OSError:
            _close(directories)
            raise
        return directories


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # what counts was synced before
            os.close(descriptor)


def _sync(directories: list[int]) -> None:
    """Make what a directory names durable, and the directories above it, which may be new too."""
    for directory in reversed(directories):
        os.fsync(directory)


def _status(name: str, directory: int) -> os.stat_result | None:
    """The status of a name in a directory; None when nothing has it."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(status: os.stat_result) -> bytes:
    """8 bytes that stay the same as long as nobody writes to the file or puts another one in its place."""
    fields = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return hashlib.blake2b(fields.encode(), digest_size=8).digest()


def _hidden_name(name: str, suffix: str) -> str:
    return f"{HIDDEN_PREFIX}{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}.{suffix}"


def _journal_header(offer: Offer) -> bytes:
    """First line of a journal: a journal of another source, size or version does not count."""
    fields = {"version": 1, "name": offer.name, "bytes": offer.file_bytes, "source": offer.source_id.hex()}
    return json.dumps(fields, sort_keys=True).encode() + b"\n"


def _remove(*names: str, directory: int) -> None:
    """Remove files that may be there, in this order: a journal alone vouches for nothing, so the part goes first."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


@dataclasses.dataclass(frozen=True)
class _Journal:
    """What a journal vouches for."""

    stored: Ranges = ()
    published: bytes = b""  # identity of the published file
    valid_bytes: int = 0  # up to the first damaged entry


def _read_journal(offer: Offer, directory: int) -> _Journal:
    """The journal of the offered file; entries behind a damaged one do not count."""
    content = _read_hidden(_hidden_name(offer.name, "journal"), directory)
    header = _journal_header(offer)
    if not content.startswith(header):
        return _Journal()
    ranges: list[tuple[int, int]] = []
    published, valid = b"", len(header)
    for offset in range(len(header), len(content) - _ENTRY.size + 1, _ENTRY.size):
        entry = content[offset : offset + _ENTRY.size]
        first, last, check = _ENTRY.unpack(entry)
        if first == _PUBLISHED_MARK:
            published = _PUBLISHED.unpack(entry)[1]
        elif check == zlib.crc32(entry[:8]) and first <= last:
            ranges.append((first, last))
        else:
            break
        valid = offset + _ENTRY.size
    part = _status(_hidden_name(offer.name, "part"), directory)
    # A part with a second name is published already: writing to it would alter what was published.
    whole = part is not None and part.st_size == offer.file_bytes and part.st_nlink == 1
    return _Journal(_merge(ranges) if whole else (), published, valid)


def _read_hidden(name: str, directory: int) -> bytes:
    """The content of a journal; empty when there is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return b""


def _merge(ranges: list[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _journals(directory: int, label: str, depth: int) -> Iterator[tuple[str, str]]:
    """Label and name of each journal below a directory, which is closed then."""
    try:
        for name in os.listdir(directory):
            if name.startswith(HIDDEN_PREFIX) and name.endswith(".journal"):
                yield label, name
            elif depth:
                with contextlib.suppress(OSError):
                    below = os.open(name, _DIRECTORY, dir_fd=directory)
                    yield from _journals(below, f"{label}/{name}".lstrip("/"), depth - 1)
    finally:
        os.close(directory)


def _unallocated_bytes(offer: Offer, part: os.stat_result) -> int:
    """What of the file the file system has yet to find room for."""
    return max(offer.file_bytes - part.st_blocks * 512, 0)


def _append(journal: int, content: bytes) -> None:
    if os.write(journal, content) != len(content):
        raise OSError(errno.ENOSPC, "the disk took only a part of a journal's entry")


class Incoming:
    """A file being received. `write` belongs to the loop; the other work may run in one other thread at a time."""

    def __init__(
        self,
        offer: Offer,
        directories: list[int],
        stored: Ranges,
        overwrite: bool,
        on_close: Callable[[Incoming, bool], None],
    ) -> None:
        self.offer = offer
        self.published = False
        self._on_close = on_close
        self._directories = directories
        self._directory = directory = directories[-1]
        self._overwrite = overwrite
        self._part_name = _hidden_name(offer.name, "part")
        self._journal_name = _hidden_name(offer.name, "journal")
        self._unsynced: list[tuple[int, int]] = []
        with _storage(f"cannot create '{offer.name}'"):
            if not stored:
                # New files, never old ones truncated: these may have got another name (the published one) before a crash.
                _remove(self._part_name, self._journal_name, directory=directory)
            flags = os.O_RDWR | os.O_NOFOLLOW | (0 if stored else os.O_CREAT | os.O_EXCL)
            opened: list[int] = []
            try:
                opened.append(os.open(self._journal_name, flags | os.O_APPEND, 0o600, dir_fd=directory))
                if stored:  # an entry behind one that was cut off by a crash would not be read
                    os.ftruncate(opened[0], _read_journal(offer, directory).valid_bytes)
                else:
                    _append(opened[0], _journal_header(offer))
                opened.append(os.open(self._part_name, flags, 0o666, dir_fd=directory))
                os.ftruncate(opened[1], offer.file_bytes)
            except OSError:
                _close(opened)
                raise
        self._journal, self._part = opened

    def preallocate(self) -> None:
        """Reserve disk space, where that is quick. Raises TransferError (DISK_FULL)."""
        with _storage(f"no room for '{self.offer.name}'"):
            reserve(self._part, self.offer.file_bytes)

    def unallocated_bytes(self) -> int:
        """What the file system has yet to find room for."""
        return _unallocated_bytes(self.offer, os.fstat(self._part))

    def write(self, record: int, plain: memoryview) -> None:
        """Write a record. Raises TransferError."""
        try:
            written = os.pwrite(self._part, plain, record * RECORD_BYTES)
        except OSError as error:
            raise _storage_error(error, f"cannot write '{self.offer.name}'") from error
        if written != len(plain):
            raise TransferError(Code.DISK_FULL, f"'{self.offer.name}': the disk took only a part of a record")
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
        with _storage(f"cannot sync '{self.offer.name}'"):
            os.fdatasync(self._part)
            entries = (struct.pack(">II", first, last) for first, last in _merge(ranges))
            _append(self._journal, b"".join(entry + struct.pack(">I", zlib.crc32(entry)) for entry in entries))
            os.fdatasync(self._journal)

    def publish(self) -> None:
        """Give the file its name, durably. Raises TransferError; FILE_EXISTS when somebody was faster."""
        name, directory = self.offer.name, self._directory
        with _storage(f"cannot publish '{name}'"):
            os.fsync(self._part)
            # If we die before DONE arrives, the sender's next offer of the same source learns from here that it succeeded.
            _append(self._journal, _PUBLISHED.pack(_PUBLISHED_MARK, _identity(os.fstat(self._part))))
            os.fdatasync(self._journal)
            if self._overwrite:
                os.replace(self._part_name, name, src_dir_fd=directory, dst_dir_fd=directory)
            else:
                self._link(name)
            _sync(self._directories)
        self.published = True

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
            if _status(name, directory) is not None:
                raise TransferError(Code.FILE_EXISTS, f"'{name}' exists") from error
            os.rename(self._part_name, name, src_dir_fd=directory, dst_dir_fd=directory)
            return
        os.unlink(self._part_name, dir_fd=directory)

    def close(self, keep: bool) -> None:
        """Close the file; with ``keep`` leave the hidden files for a later resume or question."""
        self._on_close(self, keep)
        if not keep:
            with contextlib.suppress(OSError):
                _remove(self._part_name, self._journal_name, directory=self._directory)
        _close([self._part, self._journal, *self._directories])
