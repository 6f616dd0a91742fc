"""A program that runs to its end or until it is stopped, and what it used: CPU time and peak memory, children included.

The kernel's own peak (ru_maxrss) of a child of Python is at least that of Python, as it is passed on by fork and exec. GNU
time stands between, whose memory is about 2 MB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .programs import BenchError, tool

POLL_S = 0.01
SETTLE_S = 3.0
"""A service's child, such as that of one connection, may need so long to end after the client."""
STOP_S = 5.0


class TooSlowError(BenchError):
    """A client did not end in time."""


@dataclasses.dataclass
class Usage:
    """What processes used: CPU time of all, peak memory of the largest."""

    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


class Process:
    """A running program. ``within`` is a command that runs it elsewhere, such as in a network namespace."""

    def __init__(self, within: list[str], command: list[str], usage: Usage, env: dict[str, str] | None = None) -> None:
        self.name = Path(command[0]).name
        self._usage = usage
        self._said = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 as long as the process
        self._memory = tempfile.NamedTemporaryFile()  # noqa: SIM115 same
        measured = [tool("time"), "--quiet", "--format", "%M", "--output", self._memory.name, *command]
        self._process = subprocess.Popen(
            [*within, *measured], stdout=subprocess.DEVNULL, stderr=self._errors, env=env, start_new_session=True
        )

    def wait(self, limit_s: float) -> None:
        """Wait for its end. Raises TooSlowError after the limit, BenchError when it fails."""
        if self._reap(limit_s):
            raise TooSlowError(f"{self.name} is not done after {limit_s:.0f} s")
        if self._process.returncode:
            raise BenchError(f"{self.name}: exit status {self._process.returncode}: {self.errors()}")

    def stop(self) -> None:
        """End it, if it has not ended by itself. What it has started to serve a client may finish; its CPU time counts."""
        if self._process.returncode is not None:
            return
        deadline = time.monotonic() + SETTLE_S
        for program in _children(self._process.pid):
            while any(_runs(child) for child in _children(program)) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            self._usage.cpu_s += sum(map(_cpu_s, _children(program)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, signal.SIGTERM)
        self._reap(STOP_S)

    def ended(self) -> bool:
        """True when it has ended by itself."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def errors(self) -> str:
        """The end of what it said on standard error."""
        if not self._errors.closed:
            self._errors.seek(0)
            self._said = self._errors.read().decode(errors="replace").strip()[-200:]
        return self._said

    def _reap(self, limit_s: float) -> bool:
        """Wait, add to the usage; true when it had to be killed."""
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            os.killpg(self._process.pid, signal.SIGKILL)

        timer = threading.Timer(limit_s, kill)
        timer.start()
        try:
            _, status, used = os.wait4(self._process.pid, 0)
        except BaseException:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                kill()
                os.waitpid(self._process.pid, 0)
            self._process.returncode = -signal.SIGKILL
            raise
        finally:
            timer.cancel()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._usage.cpu_s += used.ru_utime + used.ru_stime
        self.errors()
        self._errors.close()
        with self._memory:
            told = Path(self._memory.name).read_text().split()
        peak = int(told[-1]) * 1024 if told else 0
        self._usage.peak_memory_bytes = max(self._usage.peak_memory_bytes, peak)
        return killed.is_set()


def _children(pid: int) -> list[int]:
    """Direct children of a process that it has not waited for."""
    children: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                children += map(int, (thread / "children").read_text().split())
    return children


def _runs(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"])


def _cpu_s(pid: int) -> float:
    """CPU time of a process and of those it has waited for; also of one that has ended and is not waited for."""
    return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the state on; none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
