"""The five modes with more and more servers of the embedded lab that is up, such as one of 50.

The program is the one that the last run deployed; receivers, key, files and port are the benchmark's own, in the hosts' memory.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from udpxfer.modes import MODES

from . import plots
from .cells import Row
from .programs import BenchError

CLIENT = "alpine-2"
COUNTS = (1, 2, 10, 50)
PORT = 9100
FOLDER = "/dev/shm/bench"  # noqa: S108 (of hosts that are ours alone)
START_DEADLINE_S = 60.0
SCRIPT_LIMIT_S = 600.0
"""What one script on a host may take: a send of the default sizes to 50 servers takes seconds."""
AT_ONCE = 8
"""So many hosts are spoken to at the same time."""


class Lab:
    """The hosts of a lab that is up: one client and the servers, with their addresses."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "ssh_config"
        if not self._config.exists():
            raise BenchError(f'no lab in {folder}: make run ARGS="-e lab_servers=50" first')
        nodes = {node["name"]: node["address"] for node in json.loads((folder / "lab.json").read_text())["nodes"]}
        self.servers = {name: address for name, address in nodes.items() if name != CLIENT}

    def run(self, host: str, script: str, given: str = "") -> str:
        """Run a shell script on a host; returns what it says. Raises BenchError when it fails."""
        command = ["ssh", "-F", str(self._config), host, script]
        try:
            ended = subprocess.run(
                command, input=given, capture_output=True, text=True, check=False, timeout=SCRIPT_LIMIT_S
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{host}: not done after {SCRIPT_LIMIT_S:.0f} s") from error
        if ended.returncode:
            raise BenchError(f"{host}: {ended.stderr.strip()[-300:]}")
        return ended.stdout

    def run_on_servers(self, script: str, given: str = "", count: int | None = None) -> list[str]:
        """The same on the first servers, or on all; {address} in the script is the server's own."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [
                pool.submit(self.run, name, script.format(address=address), given)
                for name, address in list(self.servers.items())[:count]
            ]
            return [job.result() for job in jobs]


@contextlib.contextmanager
def _receivers(lab: Lab) -> Iterator[None]:
    """A receiver of the benchmark's own on every server, its key there and on the client."""
    clear = f"if [ -e {FOLDER}/pid ]; then kill $(cat {FOLDER}/pid); fi; rm -rf {FOLDER}"
    anew = f"{clear}; umask 077; mkdir {FOLDER}"
    receive = f"udpxfer receive --bind {{address}}:{PORT} --into {FOLDER}/in --key-file {FOLDER}/key --overwrite"
    start = f"setsid {receive} --log {FOLDER}/log </dev/null >/dev/null 2>&1 & echo $! > {FOLDER}/pid"
    try:
        key = lab.run(CLIENT, f"{anew}; udpxfer keygen {FOLDER}/key && cat {FOLDER}/key")
        lab.run_on_servers(f"{anew}; cat > {FOLDER}/key; {start}", key)
        deadline = time.monotonic() + START_DEADLINE_S
        while not all(lab.run_on_servers(f"grep listening {FOLDER}/log 2>/dev/null || true")):
            if time.monotonic() > deadline:
                raise BenchError("a receiver does not start")
        yield
    finally:
        lab.run(CLIENT, f"rm -rf {FOLDER}")
        lab.run_on_servers(clear)


def servers(folder: Path, sizes: dict[str, int], repeats: int) -> Iterator[Row]:
    """One file to each of 1, 2, 10 and 50 servers, as far as the lab has them, in each mode."""
    lab = Lab(folder)
    counts = [count for count in COUNTS if count <= len(lab.servers)]
    if counts[-1] < COUNTS[-1]:
        print(f'the lab has {len(lab.servers)} servers; for more: make run ARGS="-e lab_servers=50"', file=sys.stderr)
    with _receivers(lab):
        for size, size_bytes in sizes.items():
            told = lab.run(CLIENT, f"head -c {size_bytes} /dev/urandom > {FOLDER}/file && sha256sum {FOLDER}/file")
            for count in counts:
                yield from _modes(lab, size, count, repeats, told.split()[0])


def draw(rows: list[Row], folder: Path) -> None:
    """MB/s over the number of servers, a picture for each size."""
    values = [
        {"x": row["servers"], "y": row["goodput_bytes_per_s"] / 1e6, "series": row["mode"], "size": row["size"]}
        for row in rows
    ]
    for size in dict.fromkeys(row["size"] for row in rows):
        of_size = [value for value in values if value["size"] == size]
        plots.lines(of_size, "servers", "MB/s in all", folder / f"servers-{size}.svg", log_x=True)


def _check(lab: Lab, count: int, digest: str) -> None:
    """Look at what a round brought to the servers and remove it, so that the next one's cannot be taken for it.

    Once a round: fifty hosts take half a minute to answer, and each send has its receivers' word already.
    """
    arrived = lab.run_on_servers(f"sha256sum {FOLDER}/in/file && rm {FOLDER}/in/file", count=count)
    if {text.split()[0] for text in arrived} != {digest}:
        raise BenchError("another file arrived than was sent")


def _modes(lab: Lab, size: str, count: int, repeats: int, digest: str) -> list[Row]:
    """All modes in turn, again and again, so that what else the machine does meets each of them."""
    jobs = " ".join(f"{FOLDER}/file={address}:{PORT}" for address in list(lab.servers.values())[:count])
    told: dict[str, list[Row]] = {mode: [] for mode in MODES}
    for _ in range(repeats):
        for mode in MODES:
            send = f"udpxfer send --mode {mode} --key-file {FOLDER}/key --json {FOLDER}/result {jobs}"
            told[mode].append(json.loads(lab.run(CLIENT, f"{send} >/dev/null && cat {FOLDER}/result")))
        _check(lab, count, digest)
    rows = [_summary(size, count, mode, documents) for mode, documents in told.items()]
    best = min(rows, key=lambda row: float(row["seconds"]))
    print(f"{size} to {count} servers: {best['mode']} is first, {best['seconds']:.3f} s", file=sys.stderr)
    return rows


def _summary(size: str, count: int, mode: str, documents: list[Row]) -> Row:
    seconds = [document["seconds"] for document in documents]
    return {
        "size": size,
        "servers": count,
        "mode": mode,
        "runs": len(documents),
        "seconds": statistics.median(seconds),
        "spread_s": [min(seconds), max(seconds)],
        "goodput_bytes_per_s": documents[0]["bytes"] / statistics.median(seconds),
        "client_cpu_s": statistics.median(document["cpu_s"] for document in documents),
        "client_peak_memory_bytes": max(document["peak_memory_bytes"] for document in documents),
    }


def table(rows: list[Row]) -> str:
    """A Markdown table: seconds (CPU seconds of the client) of each mode."""
    lines = [f"| size | servers | {' | '.join(MODES)} |", "|---|---|" + "---|" * len(MODES)]
    for size, count in dict.fromkeys((row["size"], row["servers"]) for row in rows):
        shown = [row for row in rows if (row["size"], row["servers"]) == (size, count)]
        texts = " | ".join(f"{row['seconds']:.3f} s (CPU {row['client_cpu_s']:.3f})" for row in shown)
        lines.append(f"| {size} | {count} | {texts} |")
    return "\n".join(lines)
