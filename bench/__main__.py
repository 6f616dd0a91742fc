"""``python3 -m bench``: measure, check every copy, print a table, write it as JSON with versions, and draw it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from udpxfer import __version__

from . import cells, lab, plots, programs, scale, sharing
from .networks import DEFAULT_NETWORKS, NETWORKS
from .peers import CIRCUMSTANCES, PEERS
from .programs import BenchError

SIZES = {
    "100KB": 100_000,
    "5MB": 5_000_000,
    "10MB": 10_000_000,
    "500MB": 500_000_000,
    "1GB": 1_000_000_000,
    "5GB": 5_000_000_000,
}
DEFAULT_SIZES, SCALE_SIZES = ("100KB", "10MB", "1GB"), ("100KB", "10MB")
ALL = {**PEERS, **CIRCUMSTANCES}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = made.add_argument
    add("--peers", nargs="+", choices=ALL, default=list(PEERS), metavar="PEER", help=", ".join(ALL))
    add("--sizes", nargs="+", choices=SIZES, metavar="SIZE", help=f"{', '.join(SIZES)}; else {' '.join(DEFAULT_SIZES)}")
    networks = f"{', '.join(NETWORKS)}; else {' '.join(DEFAULT_NETWORKS)}"
    add("--networks", nargs="+", choices=NETWORKS, default=DEFAULT_NETWORKS, metavar="NETWORK", help=networks)
    add("--repeats", type=int, default=5, help="copies of each cell (5)")
    add("--limit", type=float, default=120.0, metavar="SECONDS", help="of copying in a cell; one copy at least (120)")
    add("--into", type=Path, default=Path("results/bench"), metavar="DIR", help="for JSON and drawings (results/bench)")
    add("--rate", type=float, default=20.0, help="of the link of --goodput and --fairness, Mbit/s (20)")
    add("--lab", type=Path, default=Path(".lab/main"), metavar="DIR", help="of --scale servers (.lab/main)")
    instead = made.add_mutually_exclusive_group()
    instead.add_argument(
        "--scale",
        choices=("servers", "sessions", "sizes", "rtt"),
        help="instead: as servers (in the lab that is up), sessions on one receiver, the file or the round-trip time grow",
    )
    instead.add_argument("--goodput", action="store_true", help="instead: goodput on lossy links (5 minutes)")
    instead.add_argument(
        "--fairness",
        nargs="+",
        choices=sharing.SHARING,
        metavar="BESIDE",
        help=f"instead: shares of one link (4 minutes each): {', '.join(sharing.SHARING)}",
    )
    return made


def main() -> int:
    """Run the benchmark; returns the exit status."""
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended, what was made is removed
    kind = options.scale or ("goodput" * options.goodput) or ("fairness" if options.fairness else "peers")
    used = [ALL[name] for name in {"peers": options.peers, "sizes": scale.SIZES_OF, "rtt": scale.RTT_OF}.get(kind, ())]
    tools = ["time", *(name for peer in used for name in peer.programs)]
    modules = [peer.module for peer in used if peer.module]
    programs.provide(tools, modules)
    about = {"udpxfer": __version__, **programs.machine(), **programs.versions(tools, modules)}
    print(", ".join(f"{name} {version}" for name, version in about.items()), file=sys.stderr)
    measure: dict[str, Callable[[argparse.Namespace], tuple[list[cells.Row], str]]] = {
        "peers": _peers,
        "servers": _servers,
        "sessions": _sessions,
        "sizes": _sizes,
        "rtt": _rtt,
        "goodput": _goodput,
        "fairness": _fairness,
    }
    options.into.mkdir(parents=True, exist_ok=True)
    rows, shown = measure[kind](options)
    (options.into / f"{kind}.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    print(shown)
    print(f"JSON and drawings: {options.into}", file=sys.stderr)
    return 0


def _chosen_sizes(options: argparse.Namespace, default: tuple[str, ...]) -> dict[str, int]:
    return {name: size for name, size in SIZES.items() if name in (options.sizes or default)}


def _peers(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    networks = {name: NETWORKS[name] for name in options.networks}
    peers = {name: ALL[name] for name in options.peers}
    sizes = _chosen_sizes(options, DEFAULT_SIZES)
    rows = cells.measure(cells.Plan(networks, sizes, peers, options.repeats, options.limit))
    values = [
        {
            "x": row["bytes"] / row["process_s"] / 1e6,
            "series": row["peer"],
            "row": row["network"],
            "column": row["size"],
        }
        for row in rows
        if "process_s" in row
    ]
    if values:
        plots.bars(values, "MB/s, start included", options.into / "peers.svg")
    return rows, cells.table(rows)


def _servers(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = lab.servers(options.lab, _chosen_sizes(options, SCALE_SIZES), options.repeats, options.into)
    return rows, lab.table(rows)


def _sessions(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = scale.sessions(options.repeats, options.into)
    return rows, scale.sessions_table(rows)


def _sizes(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = scale.sizes(options.repeats, options.limit, options.into)
    return rows, cells.table(rows)


def _rtt(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = scale.rtt(options.repeats, options.limit, options.into)
    return rows, cells.table(rows)


def _goodput(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = sharing.goodput(options.rate)
    sharing.draw_goodput(rows, options.into / "goodput.svg")
    return rows, sharing.show_goodput(rows)


def _fairness(options: argparse.Namespace) -> tuple[list[cells.Row], str]:
    rows = sharing.fairness(options.fairness, options.rate)
    sharing.draw_fairness(rows, options.into / "fairness.svg")
    return rows, sharing.show_fairness(rows)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("bench: interrupted; nothing is left behind", file=sys.stderr)
        sys.exit(130)
