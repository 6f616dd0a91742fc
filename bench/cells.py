"""Cells of the table: one peer copies a file of one size over one network, again and again until its time is used up."""

from __future__ import annotations

import dataclasses
import filecmp
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .hosts import MEMORY, Hosts, two_hosts
from .networks import Network
from .peers import Copy, Peer
from .processes import TooSlowError, Usage
from .programs import BenchError

GUESS_MB_PER_S, GUESS_START_S, LOSSY_SHARE = 100.0, 1.5, 0.1
"""What the estimate takes an unknown peer for: its speed on a plain wire, its start, its share of a lossy link."""
HOPELESS = 2
"""A copy that by the last sizes would take so many times the limit is not tried."""
CHUNK_BYTES = 1_000_000
MEMORY_RESERVE_BYTES = 1_500_000_000
"""What copying in memory leaves to programs, at most; a small file asks for no more than its own size."""
PAUSE_S = 0.1
"""Between copies: what of the last one is still on the way must not meet the next one."""

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured. Networks and sizes (bytes, in rising order) by name; a cell ends after ``limit_s`` of copying."""

    networks: dict[str, Network | None]
    sizes: dict[str, int]
    peers: dict[str, Peer]
    repeats: int
    limit_s: float

    def cells(self) -> list[tuple[str, str, str]]:
        """Network, size and peer of each cell, in the order of measuring."""
        return [(network, size, peer) for network in self.networks for size in self.sizes for peer in self.peers]

    def estimate_s(self, cells: list[tuple[str, str, str]]) -> float:
        """About the time that cells take when none is hopeless."""
        return sum(self._estimate_cell_s(self.networks[network], self.sizes[size]) for network, size, _ in cells)

    def _estimate_cell_s(self, network: Network | None, size: int) -> float:
        rate = network.capacity_mbit() / 8 if network else GUESS_MB_PER_S
        slowed = LOSSY_SHARE if network and network.loss_pct else 1.0
        copy_s = GUESS_START_S + size / 1e6 / (rate * slowed)
        return min(copy_s * self.repeats, self.limit_s)


def measure(plan: Plan) -> Iterator[Row]:
    """A row for each cell as soon as it is done, also for those that could not be measured; progress on standard error."""
    rows: list[Row] = []
    left = plan.cells()
    print(f"{len(left)} cells, at most about {plan.estimate_s(left) / 60:.0f} minutes", file=sys.stderr)
    for network, link in plan.networks.items():
        with two_hosts(link) as hosts:
            hosts.limit_s = plan.limit_s
            for size, size_bytes in plan.sizes.items():
                source = hosts.source / f"file-{size}"
                for peer in plan.peers:
                    earlier = [row for row in rows if (row["network"], row["peer"]) == (network, peer)]
                    row = {"network": network, "size": size, "bytes": size_bytes, "peer": peer}
                    rows.append({**row, **_cell(hosts, plan, peer, source, size_bytes, earlier)})
                    left.pop(0)
                    minutes = plan.estimate_s(left) / 60
                    print(f"{network} {size} {peer}: {outcome(rows[-1])}; {minutes:.0f} min left", file=sys.stderr)
                    yield rows[-1]
                source.unlink(missing_ok=True)


def _cell(hosts: Hosts, plan: Plan, peer: str, source: Path, size: int, earlier: list[Row]) -> Row:
    if reason := hopeless(earlier, size, plan.limit_s) or no_room(size, source.exists()):
        return {"not_run": reason}
    copies: list[tuple[Copy, Usage]] = []
    try:
        _make(source, size)
        for copy in _copies(hosts, plan.peers[peer], source, plan):
            copies.append(copy)  # noqa: PERF402 what came before an error counts
    except TooSlowError:
        # Those before it were good; how many were not is told, since the median leaves them out.
        return {**summary(size, copies), "too_slow": 1} if copies else {"exceeded_s": plan.limit_s}
    except (BenchError, OSError) as error:
        return {"failed": str(error)}
    return summary(size, copies)


def _make(source: Path, size: int) -> None:
    """Fill the file with random bytes, if it is not there."""
    if source.exists():
        return
    try:
        with source.open("wb") as file:
            for start in range(0, size, CHUNK_BYTES):
                file.write(os.urandom(min(CHUNK_BYTES, size - start)))
    except OSError:
        source.unlink()
        raise


def no_room(size: int, source_is_there: bool) -> str:
    """Why a file does not fit into memory beside its copy; empty when it does."""
    needed = size if source_is_there else 2 * size
    room = memory_available() - min(MEMORY_RESERVE_BYTES, size)
    return f"needs {needed / 1e6:,.0f} MB of memory, {max(room, 0) / 1e6:,.0f} are free" if needed > room else ""


def memory_available() -> int:
    """Bytes that files in memory may take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return min(kilobytes * 1024, shutil.disk_usage(MEMORY).free)


def hopeless(earlier: list[Row], size: int, limit_s: float) -> str:
    """Why a copy need not be tried, by what smaller ones on the same network took; empty when it should be."""
    if earlier and "not_run" in earlier[-1]:
        return str(earlier[-1]["not_run"])
    if earlier and "exceeded_s" in earlier[-1]:
        return f"{earlier[-1]['size']} took {outcome(earlier[-1])}"
    known = [row for row in earlier if "process_s" in row]
    if len(known) < 2:  # of one size nobody knows how much is the start
        return ""
    small, large = known[-2:]
    s_per_byte = (large["process_s"] - small["process_s"]) / (large["bytes"] - small["bytes"])
    if large["process_s"] + s_per_byte * (size - large["bytes"]) > HOPELESS * limit_s:
        return f"{large['size']} took {large['process_s']:.1f} s"
    return ""


def _copies(hosts: Hosts, peer: Peer, source: Path, plan: Plan) -> Iterator[tuple[Copy, Usage]]:
    """Copy until there are enough or another one would exceed the limit; every copy is compared with its source."""
    target = hosts.target / source.name
    used_s = 0.0
    try:
        for _ in range(plan.repeats):
            target.unlink(missing_ok=True)
            hosts.usage = Usage()
            started = time.monotonic()
            copy = peer.copy(hosts, source, target)
            took_s = time.monotonic() - started
            if peer.delivers and not filecmp.cmp(source, target, shallow=False):
                raise BenchError("delivered another file than it was given")
            yield copy, hosts.usage
            used_s += took_s
            if used_s + took_s > plan.limit_s:
                break
            time.sleep(PAUSE_S)
    finally:
        target.unlink(missing_ok=True)


def summary(size: int, copies: list[tuple[Copy, Usage]]) -> Row:
    """Medians and spread."""
    process = [copy.process_s for copy, _ in copies]
    transfer = [copy.transfer_s or copy.process_s for copy, _ in copies]
    cpu_s = statistics.median(usage.cpu_s for _, usage in copies)
    return {
        "copies": len(copies),
        "process_s": round(statistics.median(process), 4),
        "process_spread_s": [round(min(process), 4), round(max(process), 4)],
        "transfer_s": round(statistics.median(transfer), 4),
        "goodput_bytes_per_s": round(size / statistics.median(transfer)),
        "cpu_s": round(cpu_s, 4),
        "cpu_s_per_gb": round(cpu_s / size * 1e9, 3),
        "peak_memory_bytes": max(usage.peak_memory_bytes for _, usage in copies),
    }


def outcome(row: Row) -> str:
    """What became of a cell, in words."""
    if "not_run" in row:
        return f"not run ({row['not_run']})"
    if "failed" in row:
        return f"failed: {row['failed']}"
    if "exceeded_s" in row:
        return f"> {row['exceeded_s']:g} s"
    return f"{row['process_s']:.3f} s, {row['goodput_bytes_per_s'] / 1e6:.1f} MB/s"


def table(rows: list[Row]) -> str:
    """A Markdown table for each network."""
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        lines = [
            f"{network}:\n",
            "| size | peer | copies | process s (min to max) | transfer s | MB/s | CPU s/GB | peak MB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in rows if row["network"] == network]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(row: Row) -> str:
    head = f"| {row['size']} | {row['peer']} "
    if "process_s" not in row:
        return f"{head}| 0 | {outcome(row)} | | | | |"
    low, high = row["process_spread_s"]
    copies = f"{row['copies']}, then one too slow" if "too_slow" in row else row["copies"]
    return (
        f"{head}| {copies} | {row['process_s']:.3f} ({low:.3f} to {high:.3f}) | {row['transfer_s']:.3f} "
        f"| {row['goodput_bytes_per_s'] / 1e6:.3g} | {row['cpu_s_per_gb']:.3g} | {row['peak_memory_bytes'] / 1e6:.0f} |"
    )
