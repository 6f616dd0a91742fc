"""Ansible module: see that a host has a free UDP port and room on its disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.udp_sockets import sockets_at

DOCUMENTATION = r"""
module: check_host
short_description: See that a host has a free UDP port and room on its disk
description:
  - Changes nothing. All that is wrong comes in one error text.
options:
  host: {description: Name of the host for the error text., type: str, required: true}
  udp_port: {description: Port that must be free; 0 checks none., type: int, default: 0}
  program: {description: Program that may have the port already., type: path, required: true}
  folder: {description: Directory that need not exist yet., type: path, required: true}
  free_bytes: {description: Bytes that must be free for it., type: int, required: true}
"""


def link_target(link: Path) -> str:
    """Where a link of /proc leads; empty when its process or file is gone meanwhile."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def owners(inodes: set[str]) -> Iterator[list[str]]:
    """Command lines of the processes that hold one of these sockets."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link_target(link) in wanted for link in (process / "fd").iterdir()):
                yield (process / "cmdline").read_text(errors="replace").split("\0")
        except OSError:  # the process ended meanwhile
            continue


def port_problem(port: int, program: str) -> str | None:
    """Who else has the port, None when it is free or the program's own."""
    inodes = sockets_at(port)
    if not inodes:
        return None
    commands = list(owners(inodes))
    if any(program in command for command in commands):
        return None
    who = f"'{' '.join(commands[0]).strip()}'" if commands else "another program"
    return f"UDP port {port} is taken by {who}. Stop that, or choose another port: udpxfer_port."


def disk_problem(folder: Path, free_bytes: int) -> str | None:
    """What is missing on the disk of the folder, None when there is room."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    if free >= free_bytes:
        return None
    return (
        f"the disk of {folder} has {free / 1e6:.0f} MB free, {free_bytes / 1e6:.0f} MB are wanted. "
        "Free some, or ask for less: preflight_free_bytes."
    )


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "udp_port": {"type": "int", "default": 0},
            "program": {"type": "path", "required": True},
            "folder": {"type": "path", "required": True},
            "free_bytes": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    found = (
        port_problem(params["udp_port"], params["program"]) if params["udp_port"] else None,
        disk_problem(Path(params["folder"]), params["free_bytes"]),
    )
    problems = [problem for problem in found if problem]
    if problems:
        module.fail_json(msg="\n".join(f"{params['host']}: {problem}" for problem in problems))
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
