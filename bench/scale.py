"""How far udpxfer goes: with the size of the file, the round-trip time and the sessions on one receiver.

For the number of servers see lab.py.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from . import cells, plots
from .hosts import RECEIVER, Hosts, two_hosts
from .networks import Network
from .peers import PEERS, PORT, environment, make_key
from .processes import Usage
from .programs import BenchError
from .sharing import jain_index

LARGEST_BYTES = 10_000_000_000
SIZES = {
    f"{digit}{unit}B": digit * factor
    for unit, factor in (("K", 10**3), ("M", 10**6), ("G", 10**9))
    for digit in (1, 10, 100)
    if digit * factor <= LARGEST_BYTES
}
SIZES_OF = {"udpxfer": "udpxfer", "socat": "socat, plain TCP"}
RTT_OF = {"udpxfer": "udpxfer", "socat": "TCP CUBIC", "socat-bbr": "TCP BBR"}
"""Whom the curves over size and round-trip time show, and under which names."""
RTTS_MS = (0.0, 10.0, 50.0, 100.0, 200.0, 400.0, 600.0)
RTT_RATE_MBIT, RTT_BYTES = 100.0, 10_000_000
SESSIONS = (1, 10, 100)
SESSIONS_BYTES = 500_000_000


def sizes(repeats: int, limit_s: float) -> Iterator[cells.Row]:
    """Files of 1 KB to 10 GB, or as large as memory holds twice, on a plain wire: udpxfer and plain TCP."""
    peers = {name: PEERS[name] for name in SIZES_OF}
    return cells.measure(cells.Plan({"veth": None}, SIZES, peers, repeats, limit_s))


def draw_sizes(rows: list[cells.Row], folder: Path) -> None:
    """MB/s over the size of the file."""
    values = [
        {"x": row["bytes"], "y": row["bytes"] / row[key] / 1e6, "series": f"{SIZES_OF[row['peer']]}{text}"}
        for key, text in (("process_s", ", with its start"), ("transfer_s", ""))
        for row in rows
        if key in row and (row["peer"] == "udpxfer" or not text)
    ]
    plots.lines(values, "bytes of the file", "MB/s", folder / "sizes.svg", log_x=True, log_y=True)


def rtt(repeats: int, limit_s: float) -> Iterator[cells.Row]:
    """A file over longer and longer paths: udpxfer, TCP CUBIC and TCP BBR."""
    networks: dict[str, Network | None] = {f"{ms:g} ms": Network(RTT_RATE_MBIT, ms) for ms in RTTS_MS}
    peers = {name: PEERS[name] for name in RTT_OF}
    return cells.measure(cells.Plan(networks, {"10MB": RTT_BYTES}, peers, repeats, limit_s))


def draw_rtt(rows: list[cells.Row], folder: Path) -> None:
    """Mbit/s over the round-trip time."""
    values = [
        {
            "x": float(row["network"].split()[0]),
            "y": row["bytes"] * 8e-6 / row["process_s"],
            "series": RTT_OF[row["peer"]],
        }
        for row in rows
        if "process_s" in row
    ]
    plots.lines(values, "round-trip time in ms", "Mbit/s, start included", folder / "rtt.svg")


def sessions(repeats: int) -> Iterator[cells.Row]:
    """The same bytes in 1, 10 and 100 files at once to one receiver on a plain wire, from a process for each."""
    with two_hosts() as hosts:
        for count in SESSIONS:
            files = list(_files(hosts, count))
            row = _summary(count, [_send_at_once(hosts, files) for _ in range(repeats)])
            print(f"{count} sessions: {row['goodput_bytes_per_s'] / 1e6:.0f} MB/s", file=sys.stderr)
            yield row
            shutil.rmtree(files[0].parent)


def draw_sessions(rows: list[cells.Row], folder: Path) -> None:
    """MB/s over the number of sessions."""
    values = [{"x": row["sessions"], "y": row["goodput_bytes_per_s"] / 1e6, "series": "all sessions"} for row in rows]
    plots.lines(values, "sessions at once", "MB/s", folder / "sessions.svg", log_x=True)


def _files(hosts: Hosts, count: int) -> Iterator[Path]:
    folder = hosts.source / str(count)
    folder.mkdir()
    content = os.urandom(SESSIONS_BYTES // count)
    for number in range(count):
        file = folder / f"file-{number}"
        file.write_bytes(content)
        yield file


def _send_at_once(hosts: Hosts, files: list[Path]) -> cells.Row:
    told = hosts.folder / "result.json"
    keyed = ["--key-file", str(make_key(hosts))]
    python = [sys.executable, "-m", "udpxfer"]
    receive = [*python, "receive", "--bind", f"{RECEIVER}:{PORT}", "--into", str(hosts.target), *keyed]
    send = [*python, "send", "--mode", "multi_process", "--json", str(told), *keyed]
    hosts.usage = receiver = Usage()
    with hosts.service([*receive, "--max-sessions", str(max(SESSIONS))], "udp", PORT, environment()):
        hosts.usage = sender = Usage()
        hosts.run(0, [*send, *(f"{file}={RECEIVER}:{PORT}" for file in files)], environment())
    for file in files:
        if not filecmp.cmp(file, hosts.target / file.name, shallow=False):
            raise BenchError(f"another {file.name} arrived than was sent")
        (hosts.target / file.name).unlink()
    document = json.loads(told.read_text())
    return {
        "seconds": document["seconds"],
        "receiver_cpu_s": receiver.cpu_s,
        "receiver_peak_memory_bytes": receiver.peak_memory_bytes,
        "sender_cpu_s": sender.cpu_s,
        "jain_index": jain_index([transfer["goodput_bytes_per_s"] for transfer in document["transfers"]]),
    }


def _summary(count: int, runs: list[cells.Row]) -> cells.Row:
    row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    seconds = [run["seconds"] for run in runs]
    row["goodput_bytes_per_s"] = SESSIONS_BYTES // count * count / row["seconds"]
    return {"sessions": count, "runs": len(runs), "spread_s": [min(seconds), max(seconds)], **row}


def sessions_table(rows: list[cells.Row]) -> str:
    """A Markdown table."""
    lines = [
        "| sessions | s (min to max) | MB/s in all | receiver CPU s/GB | receiver peak MB | senders CPU s/GB | Jain index |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["spread_s"]
        gigabytes = SESSIONS_BYTES / 1e9
        lines.append(
            f"| {row['sessions']} | {row['seconds']:.2f} ({low:.2f} to {high:.2f}) | {row['goodput_bytes_per_s'] / 1e6:.0f} "
            f"| {row['receiver_cpu_s'] / gigabytes:.2f} | {row['receiver_peak_memory_bytes'] / 1e6:.0f} "
            f"| {row['sender_cpu_s'] / gigabytes:.2f} | {row['jain_index']:.2f} |"
        )
    return "\n".join(lines)
