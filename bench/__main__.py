"""``python3 -m bench``: measure, check every copy, print a table, write it as JSON."""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from . import sharing
from .hosts import BenchError, Hosts, two_hosts
from .networks import NETWORKS
from .peers import PEERS, Copy

SIZES = {"100KB": 100_000, "10MB": 10_000_000, "500MB": 500_000_000, "1GB": 1_000_000_000, "5GB": 5_000_000_000}


def measure(hosts: Hosts, name: str, source: Path, repeats: int) -> list[Copy]:
    """Copy ``source`` ``repeats`` times with a peer; every copy is compared with its source."""
    copies = []
    target = hosts.target / source.name
    for _ in range(repeats):
        target.unlink(missing_ok=True)
        copies.append(PEERS[name](hosts, source, target))
        if not filecmp.cmp(source, target, shallow=False):
            raise BenchError(f"{name} delivered another file than it was given")
    target.unlink()
    return copies


def summary(name: str, size: int, copies: list[Copy]) -> dict[str, Any]:
    """Medians and spread of the copies."""
    process = [copy.process_s for copy in copies]
    transfer = [copy.transfer_s or copy.process_s for copy in copies]
    return {
        "peer": name,
        "bytes": size,
        "process_s": round(statistics.median(process), 4),
        "process_spread_s": [round(min(process), 4), round(max(process), 4)],
        "transfer_s": round(statistics.median(transfer), 4),
        "goodput_bytes_per_s": round(size / statistics.median(transfer)),
        "cpu_s": round(statistics.median(c.cpu_s for c in copies if c.cpu_s), 3) if copies[0].cpu_s else None,
        "peak_memory_bytes": max((c.peak_memory_bytes or 0 for c in copies), default=0) or None,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a Markdown table; ratios are of goodput, against socat's plain TCP copy."""
    print("| size | peer | process s (min to max) | transfer s | MB/s | of socat |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        base = next((r for r in rows if r["peer"] == "socat" and r["bytes"] == row["bytes"]), None)
        ratio = f"{row['goodput_bytes_per_s'] / base['goodput_bytes_per_s']:.2f}" if base else ""
        low, high = row["process_spread_s"]
        print(
            f"| {row['bytes']:,} | {row['peer']} | {row['process_s']:.3f} ({low:.3f} to {high:.3f}) | {row['transfer_s']:.3f} "
            f"| {row['goodput_bytes_per_s'] / 1e6:.0f} | {ratio} |"
        )


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER", help=", ".join(PEERS))
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:-1], metavar="SIZE", help=", ".join(SIZES)
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--network", choices=NETWORKS, default="veth", help=", ".join(NETWORKS))
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--plot", type=Path, help="draw goodput or fairness into this SVG file")
    parser.add_argument("--rate", type=float, default=20.0, help="of the emulated link, Mbit/s (default: 20)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--goodput", action="store_true", help="instead: goodput on lossy links (5 minutes)")
    other.add_argument("--files", action="store_true", help="instead: short files on lossy links (6 minutes)")
    other.add_argument(
        "--fairness",
        nargs="+",
        choices=sharing.SHARING,
        metavar="BESIDE",
        help=f"instead: shares of one link (4 minutes each): {', '.join(sharing.SHARING)}",
    )
    options = parser.parse_args()
    measured = measure_sharing(options) or measure_peers(options)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


def measure_sharing(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of --goodput, --files or --fairness; none when that is not asked for."""
    rows = []
    if options.goodput:
        rows = sharing.goodput(options.rate)
        print(sharing.show_goodput(rows))
        if options.plot:
            sharing.draw_goodput(rows, options.plot)
    elif options.files:
        rows = sharing.files(options.rate, options.repeats)
        print(sharing.show_files(rows))
    elif options.fairness:
        rows = sharing.fairness(options.fairness, options.rate)
        print(sharing.show_fairness(rows))
        if options.plot:
            sharing.draw_fairness(rows, options.plot)
    return rows


def measure_peers(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all peers and sizes that are asked for."""
    rows = []
    with two_hosts(NETWORKS[options.network]) as hosts:
        for size in options.sizes:
            source = hosts.source / f"file-{size}"
            with source.open("wb") as file:
                for _ in range(0, SIZES[size], 1_000_000):
                    file.write(os.urandom(min(1_000_000, SIZES[size])))
            for name in options.peers:
                try:
                    rows.append(summary(name, SIZES[size], measure(hosts, name, source, options.repeats)))
                    print(f"{size} {name}: {rows[-1]['goodput_bytes_per_s'] / 1e6:.0f} MB/s", file=sys.stderr)
                except BenchError as error:
                    print(f"{size} {name}: not measured: {error}", file=sys.stderr)
            source.unlink()
    show(rows)
    return rows


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        sys.exit(1)
