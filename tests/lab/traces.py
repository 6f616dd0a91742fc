"""What a lab leaves on the machine it runs on, seen from outside: the kernel's own lists."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ("net", "mnt", "pid", "uts", "ipc")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # the process ended meanwhile


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _namespaces(pid: int) -> set[str]:
    found = set()
    for kind in NAMESPACES:
        try:
            found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
        except OSError:
            continue
    return found


def namespaces_of(state: Path) -> set[str]:
    """Namespaces of a running lab: those of the processes that carry its folder's path, and of all below them."""
    parents = {
        pid: int(stat.rpartition(")")[2].split()[1]) for pid in _pids() if (stat := _read(Path(f"/proc/{pid}/stat")))
    }
    members = {pid for pid in parents if str(state) in _read(Path(f"/proc/{pid}/cmdline"))}
    while more := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= more
    return set().union(*map(_namespaces, members)) - _namespaces(os.getpid())


@dataclass(frozen=True)
class Traces:
    """All of a lab that the kernel still knows."""

    processes: list[str]
    mounts: list[str]
    interfaces: list[str]

    @classmethod
    def of(cls, state: Path, namespaces: set[str]) -> Traces:
        """What there is of the lab with this folder and these namespaces."""
        processes = [
            f"{pid} {command}"
            for pid in _pids()
            if (command := _read(Path(f"/proc/{pid}/cmdline"))) and pid != os.getpid()
            if _namespaces(pid) & namespaces or _mentions(pid, command, state)
        ]
        numbers = {namespace.split(":", 1)[1] for namespace in namespaces}
        mounts = [
            line
            for line in _read(Path("/proc/self/mountinfo")).splitlines()
            if str(state) in line or any(number in line for number in numbers)
        ]
        return cls(sorted(processes), mounts, sorted(path.name for path in Path("/sys/class/net").iterdir()))


def _mentions(pid: int, command: str, state: Path) -> bool:
    """True for a process that names the lab's folder, be it relative to the project as Ansible's ssh does."""
    if str(state) in command:
        return True
    project = state.parent.parent
    try:
        return str(state.relative_to(project)) in command and Path(f"/proc/{pid}/cwd").readlink() == project
    except OSError:
        return False
