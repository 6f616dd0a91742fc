"""Command line of the lab: one verb, one lab folder; JSON on standard output, progress and errors on standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import config, holder, lab
from .system import LabError


def main() -> int:
    """Run one verb; 0 done, 1 failed with a message, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="lab.py", description="Alpine hosts on one switch, in namespaces of this machine."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, meaning in (
        ("up", "bring the lab up; its description is read from standard input as JSON"),
        ("down", "end the lab and remove what it left in the system"),
        ("status", "show what runs"),
        ("connect", "connect ssh to a host (ProxyCommand with ProxyUseFdpass)"),
        ("hold", "be the lab (started by up)"),
    ):
        command = verbs.add_parser(verb, help=meaning)
        command.add_argument("folder", type=Path, help="the lab's folder; its name is the lab's id")
        if verb in ("up", "down"):
            command.add_argument("--check", action="store_true", help="say what would change, change nothing")
        if verb == "up":
            command.add_argument(
                "--timeout", type=float, default=60.0, metavar="SECONDS", help="for SSH to answer (60)"
            )
        if verb == "connect":
            command.add_argument("host")
            command.add_argument("port", type=int)
        if verb == "hold":
            command.add_argument("image", type=Path)
    arguments = parser.parse_args()
    os.umask(0o022)  # the hosts' files must not depend on the user's own
    try:
        _run(arguments)
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> None:
    the_lab = lab.Lab(arguments.folder.resolve())
    if arguments.verb == "up":
        description = config.parse(sys.stdin.read())
        result = lab.up(the_lab, description, arguments.timeout, _say, arguments.check)
    elif arguments.verb == "down":
        result = lab.down(the_lab, arguments.check)
    elif arguments.verb == "status":
        result = lab.status(the_lab)
    elif arguments.verb == "connect":
        return lab.connect(the_lab, arguments.host, arguments.port)
    else:
        return holder.hold(the_lab.folder, arguments.image)
    print(json.dumps(result))
    return None


def _say(progress: str) -> None:
    print(f"lab: {progress}", file=sys.stderr, flush=True)
