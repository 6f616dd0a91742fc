"""A disk in memory that stands in for `os` in the store, and forgets on a power loss what was not synced.

The model is stricter than any common file system: of every file, each 4 KiB page written since its last sync may be lost on its own;
of every directory, any number of the last changes since its last sync may be lost.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from types import SimpleNamespace

PAGE_BYTES = 4096
FREE_BYTES = 1 << 40


class File:
    """A regular file: what programs see, what is durable, and the changes between the two."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, page) or (new size, None)
        self.links = 0
        self.changes = 0  # stands for the modification time

    def resize(self, size: int) -> None:
        _apply(self.content, size, None)
        self.changes += 1
        self.pending.append((size, None))

    def write(self, data: bytes, offset: int) -> None:
        for start in range(0, len(data), PAGE_BYTES):
            page = data[start : start + PAGE_BYTES]
            _apply(self.content, offset + start, page)
            self.pending.append((offset + start, page))
        self.changes += 1

    def sync(self) -> None:
        self.durable = bytearray(self.content)
        self.pending.clear()

    def lose_power(self, keep: Callable[[], bool]) -> None:
        for offset, page in self.pending:
            if keep():
                _apply(self.durable, offset, page)
        self.content = bytearray(self.durable)
        self.pending.clear()


def _apply(content: bytearray, offset: int, page: bytes | None) -> None:
    if page is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(page)] = page


def _status(entry: File | Directory) -> SimpleNamespace:
    if isinstance(entry, Directory):
        return SimpleNamespace(st_ino=id(entry), st_size=0, st_nlink=2, st_mtime_ns=0)
    size = len(entry.content)
    return SimpleNamespace(
        st_ino=id(entry), st_size=size, st_blocks=-(-size // 512), st_nlink=entry.links, st_mtime_ns=entry.changes
    )


class Directory:
    """A directory, with its changes since the last sync in their order."""

    def __init__(self) -> None:
        self.entries: dict[str, File | Directory] = {}
        self.durable: dict[str, File | Directory] = {}
        self.states: list[dict[str, File | Directory]] = []  # after each change since the last sync

    def change(self, name: str, entry: File | Directory | None) -> None:
        if entry is None:
            del self.entries[name]
        else:
            self.entries[name] = entry
        self.states.append(dict(self.entries))

    def sync(self) -> None:
        self.durable = dict(self.entries)
        self.states.clear()

    def lose_power(self, rng: random.Random | None) -> None:
        """Fall back to any state since the last sync; without ``rng`` to the oldest."""
        self.durable = rng.choice([self.durable, *self.states]) if rng else self.durable
        self.entries = dict(self.durable)
        self.states.clear()


class Crash(BaseException):
    """The process or the machine dies in the middle of a call."""


class SimulatedDisk:
    """The functions of `os` that the store calls, on a file system in memory."""

    def __init__(self) -> None:
        self.root = Directory()
        self._root_name = ""
        self._open: dict[int, File | Directory] = {}
        self._appending: set[int] = set()
        self._next_descriptor = 1000
        self.calls_until_crash: int | None = None
        self.free_bytes = FREE_BYTES

    def __getattr__(self, name: str) -> object:
        if name.startswith("O_") or name in ("getpid", "strerror"):
            return getattr(os, name)
        raise AttributeError(name)

    # ------------------------------------------------------------ what tests do

    def die(self, rng: random.Random | None, power_loss: bool) -> None:
        """Every process dies; on a power loss what was not synced survives in part (without ``rng``: not at all)."""
        self._open.clear()
        self._appending.clear()
        self.calls_until_crash = None
        if power_loss:
            for file in self._all_files():
                file.lose_power(lambda: rng is not None and rng.random() < 0.5)
            for directory in self._all_directories():
                directory.lose_power(rng)
            self._count_links()

    def make_room(self) -> None:
        """Others remove what filled the disk."""
        self.free_bytes = FREE_BYTES

    def files(self, durable: bool = False) -> dict[str, bytes]:
        """All files and their content, by path; with ``durable`` what a power loss now would leave for certain."""
        found: dict[str, bytes] = {}

        def walk(directory: Directory, prefix: str) -> None:
            for name, entry in (directory.durable if durable else directory.entries).items():
                if isinstance(entry, Directory):
                    walk(entry, f"{prefix}{name}/")
                else:
                    found[prefix + name] = bytes(entry.durable if durable else entry.content)

        walk(self.root, "")
        return found

    def _all_directories(self) -> list[Directory]:
        found = [self.root]
        for directory in found:  # grows while it is walked
            for state in (directory.entries, directory.durable, *directory.states):
                found += [d for d in state.values() if isinstance(d, Directory) and not any(d is f for f in found)]
        return found

    def _all_files(self) -> list[File]:
        unique: dict[int, File] = {}
        for directory in self._all_directories():
            for state in (directory.entries, directory.durable, *directory.states):
                unique.update({id(f): f for f in state.values() if isinstance(f, File)})
        return list(unique.values())

    def _count_links(self) -> None:
        files = self._all_files()
        for file in files:
            file.links = 0
        for directory in self._all_directories():
            for entry in directory.entries.values():
                if isinstance(entry, File):
                    entry.links += 1

    # ------------------------------------------------------------------- calls

    def _step(self) -> None:
        """Every call that changes something may be the last one."""
        if self.calls_until_crash is not None:
            self.calls_until_crash -= 1
            if self.calls_until_crash < 0:
                raise Crash

    def _need(self, count: int) -> None:
        if count > self.free_bytes:
            raise OSError(errno.ENOSPC, "no space")

    def _directory(self, dir_fd: int | None) -> Directory:
        entry = self.root if dir_fd is None else self._open[dir_fd]
        assert isinstance(entry, Directory)
        return entry

    def _file(self, descriptor: int) -> File:
        entry = self._open[descriptor]
        assert isinstance(entry, File)
        return entry

    def _new_descriptor(self, entry: File | Directory) -> int:
        self._next_descriptor += 1
        self._open[self._next_descriptor] = entry
        return self._next_descriptor

    def makedirs(self, path: str, exist_ok: bool) -> None:
        assert exist_ok
        self._root_name = path

    def mkdir(self, name: str, _mode: int, dir_fd: int) -> None:
        self._step()
        directory = self._directory(dir_fd)
        if name in directory.entries:
            raise FileExistsError(errno.EEXIST, "exists")
        directory.change(name, Directory())

    def open(self, name: str, flags: int, _mode: int = 0o777, dir_fd: int | None = None) -> int:
        if name == self._root_name and dir_fd is None:
            return self._new_descriptor(self.root)
        directory = self._directory(dir_fd)
        entry = directory.entries.get(name)
        if entry is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, "missing")
            self._step()
            entry = File()
            entry.links = 1
            directory.change(name, entry)
        elif flags & os.O_EXCL and flags & os.O_CREAT:
            raise FileExistsError(errno.EEXIST, "exists")
        if flags & os.O_DIRECTORY and not isinstance(entry, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "no directory")
        if flags & os.O_TRUNC:
            self._step()
            assert isinstance(entry, File)
            entry.resize(0)
        descriptor = self._new_descriptor(entry)
        if flags & os.O_APPEND:
            self._appending.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        if self._open.pop(descriptor, None) is None:
            raise OSError(errno.EBADF, "not open")

    def dup(self, descriptor: int) -> int:
        return self._new_descriptor(self._open[descriptor])

    def listdir(self, descriptor: int) -> list[str]:
        return list(self._directory(descriptor).entries)

    def stat(self, name: str, dir_fd: int, follow_symlinks: bool) -> SimpleNamespace:
        assert not follow_symlinks
        entry = self._directory(dir_fd).entries.get(name)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "missing")
        return _status(entry)

    def fstat(self, descriptor: int) -> SimpleNamespace:
        return _status(self._open[descriptor])

    def fstatvfs(self, _descriptor: int) -> SimpleNamespace:
        return SimpleNamespace(f_bavail=self.free_bytes, f_frsize=1, f_blocks=0)

    def pread(self, descriptor: int, count: int, offset: int) -> bytes:
        return bytes(self._file(descriptor).content[offset : offset + count])

    def write(self, descriptor: int, data: bytes) -> int:
        self._step()
        self._need(len(data))
        assert descriptor in self._appending
        file = self._file(descriptor)
        file.write(bytes(data), len(file.content))
        return len(data)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self._step()
        self._need(len(data))
        self._file(descriptor).write(bytes(data), offset)
        return len(data)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._step()
        self._file(descriptor).resize(size)

    def reserve(self, _descriptor: int, count: int) -> None:
        """What stands in for `udpxfer.io.allocation.reserve`."""
        self._step()
        self._need(count)

    def fdatasync(self, descriptor: int) -> None:
        self._step()
        self._open[descriptor].sync()
        self._step()

    fsync = fdatasync

    def link(self, source: str, target: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._step()
        file = self._directory(src_dir_fd).entries[source]
        assert isinstance(file, File)
        directory = self._directory(dst_dir_fd)
        if target in directory.entries:
            raise FileExistsError(errno.EEXIST, "exists")
        file.links += 1
        directory.change(target, file)

    def replace(self, source: str, target: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        self._step()
        assert src_dir_fd == dst_dir_fd
        directory = self._directory(dst_dir_fd)
        file = directory.entries[source]
        del directory.entries[source]  # one step with the next line
        directory.change(target, file)

    rename = replace

    def unlink(self, name: str, dir_fd: int) -> None:
        self._step()
        directory = self._directory(dir_fd)
        if name not in directory.entries:
            raise FileNotFoundError(errno.ENOENT, "missing")
        file = directory.entries[name]
        assert isinstance(file, File)
        file.links -= 1
        directory.change(name, None)
