"""This machine: its tools, locks, processes; and the one error that a user sees."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# A user's PATH often has no sbin folders; debugfs and ip live there.
SEARCH_PATH = ":".join(filter(None, [os.environ.get("PATH"), "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"]))

DEBIAN_PACKAGES = {
    "chroot": "coreutils",
    "cp": "coreutils",
    "debugfs": "e2fsprogs",
    "ip": "iproute2",
    "mount": "mount",
    "newuidmap": "uidmap",
    "pivot_root": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tcpdump": "tcpdump",
    "unshare": "util-linux",
}
POLL_S = 0.05


class LabError(Exception):
    """What happened, where, and what to do now; shown to the user as it is."""


def require(*tools: str) -> None:
    """Fail when one of the tools is missing, naming the packages that bring them."""
    missing = sorted(tool for tool in tools if shutil.which(tool, path=SEARCH_PATH) is None)
    if missing:
        packages = " ".join(sorted({DEBIAN_PACKAGES[tool] for tool in missing}))
        raise LabError(f"missing on this machine: {', '.join(missing)}; install with: apt-get install {packages}")


def run(*command: str | Path, stdin: str | None = None, called: str | None = None) -> str:
    """Run a command to its end; return its standard output, or raise LabError with what it said.

    `called` is its name in that error, where the whole command line would hide the reason.
    """
    argv = [str(part) for part in command]
    done = subprocess.run(
        argv,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PATH": SEARCH_PATH},
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"'{called or ' '.join(argv)}' ended with status {done.returncode}: {said}")
    return done.stdout


@contextlib.contextmanager
def locked(path: Path, timeout_s: float, busy: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel frees it when this process ends in any way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(f"{busy} (lock {path}, waited {timeout_s:.0f} s)") from None
                time.sleep(POLL_S)
        yield


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new content and nothing between."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.chmod(mode)
    new.replace(path)


def boot_id() -> str:
    """Identifies this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started(pid: int) -> int | None:
    """When a process began (clock ticks since boot); None when there is none or it is a zombie.

    Together with boot_id() it names a process for good: a pid alone is given out again.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])
