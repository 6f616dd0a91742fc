"""``python3 -m bench``: measure, check every copy, print a table, write it as JSON with versions, and draw it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

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
DEFAULTS = {
    "peers": list(PEERS),
    "sizes": None,  # each kind of measurement has its own
    "networks": DEFAULT_NETWORKS,
    "repeats": 5,
    "limit": 120.0,
    "rate": 20.0,
    "lab": Path(".lab/main"),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of measurement: its rows as they are done, their table and their drawing into a folder; options it looks at."""

    measure: Callable[[argparse.Namespace], Iterator[cells.Row]]
    table: Callable[[list[cells.Row]], str]
    draw: Callable[[list[cells.Row], Path], None]
    options: tuple[str, ...]


def _chosen_sizes(options: argparse.Namespace, default: tuple[str, ...]) -> dict[str, int]:
    return {name: size for name, size in SIZES.items() if name in (options.sizes or default)}


def _peers(options: argparse.Namespace) -> Iterator[cells.Row]:
    networks = {name: NETWORKS[name] for name in options.networks}
    peers = {name: ALL[name] for name in options.peers}
    sizes = _chosen_sizes(options, DEFAULT_SIZES)
    return cells.measure(cells.Plan(networks, sizes, peers, options.repeats, options.limit))


def _draw_peers(rows: list[cells.Row], folder: Path) -> None:
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
        plots.bars(values, "MB/s, start included", folder / "peers.svg")


KINDS = {
    "peers": Kind(_peers, cells.table, _draw_peers, ("peers", "sizes", "networks", "repeats", "limit")),
    "servers": Kind(
        lambda options: lab.servers(options.lab, _chosen_sizes(options, SCALE_SIZES), options.repeats),
        lab.table,
        lab.draw,
        ("sizes", "repeats", "lab"),
    ),
    "sessions": Kind(
        lambda options: scale.sessions(options.repeats), scale.sessions_table, scale.draw_sessions, ("repeats",)
    ),
    "sizes": Kind(
        lambda options: scale.sizes(options.repeats, options.limit),
        cells.table,
        scale.draw_sizes,
        ("repeats", "limit"),
    ),
    "rtt": Kind(
        lambda options: scale.rtt(options.repeats, options.limit), cells.table, scale.draw_rtt, ("repeats", "limit")
    ),
    "goodput": Kind(
        lambda options: sharing.goodput(options.rate), sharing.show_goodput, sharing.draw_goodput, ("rate",)
    ),
    "fairness": Kind(
        lambda options: sharing.fairness(options.fairness, options.rate),
        sharing.show_fairness,
        sharing.draw_fairness,
        ("rate",),
    ),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = made.add_argument
    add("--peers", nargs="+", choices=ALL, metavar="PEER", help=", ".join(ALL))
    add("--sizes", nargs="+", choices=SIZES, metavar="SIZE", help=f"{', '.join(SIZES)}; else {' '.join(DEFAULT_SIZES)}")
    networks = f"{', '.join(NETWORKS)}; else {' '.join(DEFAULT_NETWORKS)}"
    add("--networks", nargs="+", choices=NETWORKS, metavar="NETWORK", help=networks)
    add("--repeats", type=int, help="copies of each cell (5)")
    add("--limit", type=float, metavar="SECONDS", help="of copying in a cell; one copy at least (120)")
    add("--into", type=Path, default=Path("results/bench"), metavar="DIR", help="for JSON and drawings (results/bench)")
    add("--rate", type=float, help="of the link of --goodput and --fairness, Mbit/s (20)")
    add("--lab", type=Path, metavar="DIR", help="of --scale servers (.lab/main)")
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


def wanted(arguments: list[str]) -> tuple[str, argparse.Namespace]:
    """The kind of measurement and its options; ends with a message when one is given that it does not look at."""
    made = parser()
    options = made.parse_args(arguments)
    kind = options.scale or ("goodput" * options.goodput) or ("fairness" if options.fairness else "peers")
    given = {name: value for name in DEFAULTS if (value := getattr(options, name)) is not None}
    if vain := sorted(given.keys() - set(KINDS[kind].options)):
        made.error(f"measuring {kind} does not look at {', '.join(f'--{name}' for name in vain)}")
    return kind, argparse.Namespace(**{**vars(options), **DEFAULTS, **given})


def main() -> int:
    """Run the benchmark; returns the exit status."""
    kind, options = wanted(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGHUP):  # what runs is ended, what was made is removed
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    used = [ALL[name] for name in {"peers": options.peers, "sizes": scale.SIZES_OF, "rtt": scale.RTT_OF}.get(kind, ())]
    tools = ["time", *(name for peer in used for name in peer.programs)]
    modules = [peer.module for peer in used if peer.module]
    programs.provide(tools, modules)
    about = {"udpxfer": __version__, **programs.machine(), **programs.versions(tools, modules)}
    print(", ".join(f"{name} {version}" for name, version in about.items()), file=sys.stderr)
    options.into.mkdir(parents=True, exist_ok=True)
    rows: list[cells.Row] = []
    # Closed whatever happens, so that it removes its hosts.
    with contextlib.closing(cast("Generator[cells.Row]", KINDS[kind].measure(options))) as measured:
        for row in measured:
            rows.append(row)
            # Each time: an hour of results must not wait for the last cell.
            (options.into / f"{kind}.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    print(KINDS[kind].table(rows), flush=True)
    KINDS[kind].draw(rows, options.into)
    print(f"JSON and drawings: {options.into}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as failure:
        print(f"bench: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("bench: interrupted; its hosts and files are removed, the rows measured so far are kept", file=sys.stderr)
        sys.exit(130)
