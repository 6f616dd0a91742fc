"""Processes of this machine, named for good: their numbers are given again, after a restart of the machine in the same order."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any


def started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot. None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def note_of(pid: int) -> dict[str, Any]:
    """A process as plain data, for a file."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"boot_id": boot, "pid": pid, "started": started(pid)}


def lives(note: dict[str, Any]) -> bool:
    """True while the process of a note runs."""
    return note.get("started") is not None and note_of(note["pid"]).items() <= note.items()


def reserve(file: Path, pid: int) -> int | None:
    """Give what `file` stands for to process `pid` until that ends. When another process has it, nothing is done and its number returned."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        try:
            holder = json.load(note)
        except ValueError:  # new, or the machine went down while it was written
            holder = {}
        if lives(holder) and holder["pid"] != pid:
            return int(holder["pid"])
        note.seek(0)
        note.truncate()
        json.dump(note_of(pid), note)
    return None
