"""Command line of the lab: one verb, one lab folder; JSON on standard output, progress and errors on standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import config, holder, image, lab
from .impair import MECHANISMS
from .system import LabError

VERBS = {
    "up": "bring the lab up as described on standard input (JSON)",
    "down": "end the lab and remove what it left in the system",
    "status": "show hosts, links, impairments and captures",
    "exec": "run a command on a host, or a shell; exit status is the command's",
    "impair": "impair all links as described on standard input (JSON)",
    "link": "pull or plug a host's cable",
    "capture": "record what passes a host's port (pcap)",
    "connect": "connect ssh to a host (ProxyCommand with ProxyUseFdpass)",
    "image": "build the Alpine image (part of up)",
    "hold": "be the lab (started by up)",
}


def main() -> int:
    """Run one verb; 0 done, 1 failed with a message, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="lab.py", description="Alpine hosts on one switch, in namespaces of this machine."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    commands = {}
    for verb, meaning in VERBS.items():
        commands[verb] = verbs.add_parser(verb, help=meaning, description=meaning)
        commands[verb].add_argument("folder", type=Path, help="the lab's folder; its name is the lab's id")
    for verb in ("up", "down", "impair", "link", "capture"):
        commands[verb].add_argument("--check", action="store_true", help="say what would change, change nothing")
    up = commands["up"].add_argument
    up("--timeout", type=float, default=60.0, metavar="SECONDS", help="for SSH to answer (60)")
    up(
        "--impair-by",
        default="auto",
        choices=["auto", *(way.name for way in MECHANISMS)],
        help="how links are impaired",
    )
    commands["status"].add_argument("--table", action="store_true", help="for people")
    commands["status"].add_argument("--json", dest="table", action="store_false", help="for programs (default)")
    for verb in ("connect", "exec", "link", "capture"):
        commands[verb].add_argument("host")
    commands["connect"].add_argument("port", type=int)
    commands["exec"].add_argument("command", nargs=argparse.REMAINDER, help="none: a shell")
    commands["link"].add_argument("state", choices=["up", "down"])
    commands["capture"].add_argument("file", nargs="?", type=Path, help="start, into this file; without it: stop")
    commands["hold"].add_argument("image", type=Path)
    commands["hold"].add_argument("impair_by")
    arguments = parser.parse_args()
    os.umask(0o022)  # the hosts' files must not depend on the user's own
    began = time.monotonic()
    try:
        result = _run(arguments)
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        if isinstance(error, lab.SilentHostError) and lab.Lab(arguments.folder.resolve()).holder() is not None:
            print(json.dumps({"silent": error.host}))  # the others can still be looked at
        return 1
    if result is not None:
        if arguments.verb in ("up", "down"):
            result["seconds"] = round(time.monotonic() - began, 2)
        print(_table(result) if arguments.verb == "status" and arguments.table else json.dumps(result))
    return 0


def _run(given: argparse.Namespace) -> dict[str, Any] | None:
    the_lab = lab.Lab(given.folder.resolve())
    answers: dict[str, Callable[[], dict[str, Any] | None]] = {
        "up": lambda: lab.up(
            the_lab,
            config.parse(sys.stdin.read()),
            _say,
            timeout_s=given.timeout,
            impair_by=given.impair_by,
            check=given.check,
        ),
        "down": lambda: lab.down(the_lab, given.check),
        "status": lambda: lab.status(the_lab),
        "exec": lambda: lab.execute(the_lab, given.host, given.command),
        "impair": lambda: lab.impair(the_lab, config.parse(sys.stdin.read()), given.check),
        "link": lambda: lab.ask(the_lab, "link", host=given.host, up=given.state == "up", check=given.check),
        "capture": lambda: lab.capture(the_lab, given.host, given.file, given.check),
        "connect": lambda: lab.connect(the_lab, given.host, given.port),
        "image": lambda: {"image": str(image.ensure(_say))},
        "hold": lambda: holder.hold(the_lab.folder, given.image, given.impair_by),
    }
    return answers[given.verb]()


def _table(status: dict[str, Any]) -> str:
    """Status for people."""
    lines = [
        f"lab {status['id']} is {'up' if status['up'] else 'down'}"
        + (f", profile {status['profile']}" if status["up"] else "")
    ]
    rows = [("host", "address", "ssh", "link", "to host", "from host", "capture")]
    for node in status["nodes"]:
        ways = [
            " ".join(f"{key}={value:g}" for key, value in node.get(way, {}).items()) or "-"
            for way in ("to_host", "from_host")
        ]
        if ways[0] == ways[1] != "-":
            ways[1] = "same"
        rows.append(
            (
                node["name"],
                node["address"],
                "yes" if node["ssh"] else "no",
                node.get("link", "-"),
                *ways,
                node.get("capture") or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _say(progress: str) -> None:
    print(f"lab: {progress}", file=sys.stderr, flush=True)
