"""What a program used is measured of real processes."""

from __future__ import annotations

import sys

import pytest

from bench.processes import Process, TooSlowError, Usage
from bench.programs import BenchError

BUSY = "import time\nwhile time.process_time() < 0.3: pass"
MEGABYTES_50 = "b'x' * 50_000_000"


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_cpu_time_and_memory_of_children_count() -> None:
    usage = Usage()
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY + chr(10) + MEGABYTES_50!r}])"
    Process([], python(child), usage).wait(60.0)
    assert 0.3 <= usage.cpu_s < 3.0
    assert 50e6 <= usage.peak_memory_bytes < 100e6


def test_the_memory_of_the_one_who_measures_does_not_count() -> None:
    ballast = bytearray(100_000_000)
    usage = Usage()
    Process([], ["/bin/true"], usage).wait(60.0)
    assert 0 < usage.peak_memory_bytes < 20e6 < len(ballast)


def test_a_service_that_is_stopped_counts() -> None:
    usage = Usage()
    busy_then_idle = f"{BUSY}\nprint(1, file=open('/dev/stderr', 'w'), flush=True)\nimport signal; signal.pause()"
    service = Process([], python(busy_then_idle), usage)
    while not service.errors():
        assert not service.ended()
    service.stop()
    assert 0.3 <= usage.cpu_s < 3.0
    assert usage.peak_memory_bytes > 1e6


def test_a_client_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TooSlowError, match="not done after 0 s"):
        Process([], ["sleep", "60"], Usage()).wait(0.2)


def test_a_client_that_fails_says_why() -> None:
    with pytest.raises(BenchError, match=r"exit status 3: because"):
        Process([], ["sh", "-c", "echo because >&2; exit 3"], Usage()).wait(60.0)
