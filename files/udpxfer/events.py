"""What happens, told in one of two ways: one JSON object a line for programs, or short lines for a person at a terminal."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from typing import Any

MAX_LOG_BYTES = 16 * 1024 * 1024
"""Whoever makes a receiver log much (refused offers) must not fill its disk."""


class EventLog:
    """Writes events as JSON lines. Each line is one write, so that processes may share a file opened for appending.

    A disk or a reader that takes nothing more loses events and stops no transfer.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def emit(self, event: str, **fields: Any) -> None:
        """Log ``event`` with its fields; times are Unix seconds, sizes bytes."""
        line = json.dumps({"time": round(time.time(), 6), "event": event, **fields}, default=str)
        self._write(line + "\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._descriptor, text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))

    def progress(self, name: str, done: int, total: int) -> None:
        """Programs read results, not progress."""


class FileLog(EventLog):
    """Appends events to a file. When it has grown to ``limit`` bytes it becomes PATH.1, in the place of an older one.

    The first event of this process (what it listens at) then begins the new file too, so that a log always holds it.
    Raises OSError when the file cannot be opened.
    """

    def __init__(self, path: str, limit: int = MAX_LOG_BYTES) -> None:
        self._path, self._limit = path, limit
        self._first = ""
        super().__init__(self._open())

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _write(self, text: str) -> None:
        super()._write(text)
        self._first = self._first or text
        with contextlib.suppress(OSError):
            if os.fstat(self._descriptor).st_size >= self._limit:
                os.replace(self._path, f"{self._path}.1")
                full, self._descriptor = self._descriptor, self._open()
                os.close(full)
                super()._write(self._first)


class Terminal(EventLog):
    """Writes events for a person, with a progress line that is overwritten in place."""

    _line_open = False

    def emit(self, event: str, **fields: Any) -> None:
        """Show ``event`` as one line."""
        shown = " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, ""))
        start = "\n" if self._line_open else ""
        self._write(f"{start}{event}: {shown}\n")
        self._line_open = False

    def progress(self, name: str, done: int, total: int) -> None:
        """Show how far ``name`` is."""
        share = 100 * done // total if total else 100
        self._write(f"\r{name}: {share:3d} % of {total / 1e6:.1f} MB ")
        self._line_open = True


@functools.lru_cache(maxsize=1)
def standard_log() -> EventLog:
    """The log on standard output: for a person when it is a terminal, else JSON lines."""
    return (Terminal if sys.stdout.isatty() else EventLog)(sys.stdout.fileno())


def show_progress(name: str, done: int, total: int) -> None:
    """Show progress on the standard log; a function, so that other processes can be told to call it."""
    standard_log().progress(name, done, total)
