"""Goodput between two Alpine hosts of the embedded lab: ``python3 -m bench.lab`` after ``make run``.

The program is the one that the last run deployed; receiver, key, files and port are the benchmark's own, in the hosts' memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .hosts import BenchError

SENDER, RECEIVER, ADDRESS = "alpine-2", "alpine-1", "192.168.122.11"
PORT = 9100
FOLDER = "/dev/shm/bench"  # noqa: S108 (of hosts that are ours alone)
START_DEADLINE_S = 20.0


class Lab:
    """The hosts of a lab that is up."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "ssh_config"
        if not self._config.exists():
            raise BenchError(f"no lab in {folder}: make run first")

    def command(self, host: str, script: str, *options: str) -> list[str]:
        """The command line that runs a shell script on a host."""
        return ["ssh", "-F", str(self._config), *options, host, script]

    def run(self, host: str, script: str, given: str = "") -> str:
        """Run a shell script on a host; returns what it says. Raises BenchError when it fails."""
        ended = subprocess.run(self.command(host, script), input=given, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise BenchError(f"{host}: {ended.stderr.strip()[-300:]}")
        return ended.stdout


@contextlib.contextmanager
def receiver(lab: Lab) -> Iterator[None]:
    """A receiver of the benchmark's own on one host, its key on both."""
    for host in (SENDER, RECEIVER):
        lab.run(host, f"rm -rf {FOLDER}; mkdir -m 700 {FOLDER}")
    key = lab.run(RECEIVER, f"udpxfer keygen {FOLDER}/key && cat {FOLDER}/key")
    lab.run(SENDER, f"umask 077; cat > {FOLDER}/key", key)
    script = (
        f"exec udpxfer receive --bind {ADDRESS}:{PORT} --into {FOLDER}/in --key-file {FOLDER}/key --log {FOLDER}/log"
    )
    # The terminal ends the receiver with the connection.
    process = subprocess.Popen(
        lab.command(RECEIVER, script, "-tt"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while "listening" not in lab.run(RECEIVER, f"cat {FOLDER}/log 2>/dev/null || true"):
            if time.monotonic() > deadline:
                raise BenchError(f"{RECEIVER}: the receiver does not start")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.communicate()
        for host in (SENDER, RECEIVER):
            lab.run(host, f"rm -rf {FOLDER}")


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench.lab", description=__doc__)
    parser.add_argument("--lab", type=Path, default=Path(".lab/main"), help="the lab's folder")
    parser.add_argument("--bytes", type=int, default=500_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    lab = Lab(options.lab)
    goodputs = []
    with receiver(lab):
        lab.run(SENDER, f"head -c {options.bytes} /dev/urandom > {FOLDER}/file")
        send = (
            f"udpxfer send --mode single_thread --key-file {FOLDER}/key --json {FOLDER}/result"
            f" {FOLDER}/file={ADDRESS}:{PORT} > /dev/null && cat {FOLDER}/result"
        )
        for _ in range(options.repeats):
            told = json.loads(lab.run(SENDER, send))["transfers"][0]
            goodputs.append(told["goodput_bytes_per_s"] / 1e6)
            digests = [lab.run(*where).split()[0] for where in _digests()]
            if len(set(digests)) != 1:
                raise BenchError("another file arrived than was sent")
            lab.run(RECEIVER, f"rm {FOLDER}/in/file")
    print(
        f"{options.bytes:,} bytes: {statistics.median(goodputs):.0f} MB/s (median of {options.repeats};"
        f" {min(goodputs):.0f} to {max(goodputs):.0f})"
    )
    return 0


def _digests() -> list[tuple[str, str]]:
    return [(SENDER, f"sha256sum {FOLDER}/file"), (RECEIVER, f"sha256sum {FOLDER}/in/file")]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        sys.exit(1)
