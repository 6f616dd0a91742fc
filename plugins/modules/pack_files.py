"""Ansible module: put files and folders of a host into one tar file, with a description of the host."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import platform
import socket
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import open_file, sha256

COMMAND_LIMIT_S = 20
SIOCGIFMTU = 0x8921

DOCUMENTATION = r"""
module: pack_files
short_description: Put files and folders of a host into one tar file
description:
  - The action C(collect_files) runs this and fetches the archive.
options:
  items:
    description: What to pack; what is not there is left out and named in RV(missing).
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: File or folder on the host., type: path, required: true}
      into: {description: Its name in the archive., type: str, required: true}
      digests: {description: Pack a JSON file with size and SHA-256 of each file in the folder instead of the files., type: bool, default: false}
  commands:
    description: Commands whose output goes into the archive; one that fails or takes longer than 20 s says so there.
    type: list
    elements: dict
    default: []
    suboptions:
      run: {description: For C(/bin/sh)., type: str, required: true}
      into: {description: Name of its output in the archive., type: str, required: true}
  description: {description: Name in the archive of a JSON file about the host., type: str, required: true}
  program: {description: Program whose version goes into the description., type: path, required: true}
  dest: {description: The archive., type: path, required: true}
"""


def mtu_bytes(interface: str) -> int:
    """The largest packet of a network interface (netdevice(7)); asks the kernel, as /sys may show another namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("16s16x", interface.encode()))
    return int(struct.unpack_from("i", answer, 16)[0])


def describe_host(program: str) -> dict[str, Any]:
    """The host's versions, processors and network interfaces; `udpxfer` is None when the program does not run."""
    release = {}
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        release[name] = value.strip().strip('"')
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True)
        version = answer.stdout.split()[-1]
    except (OSError, subprocess.SubprocessError, IndexError):
        version = None
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "release": release.get("PRETTY_NAME"),
        "udpxfer": version,
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "interfaces": [
            {"name": name, "mtu_bytes": mtu_bytes(name)} for _, name in sorted(socket.if_nameindex()) if name != "lo"
        ],
    }


def output_of(command: str) -> bytes:
    """What a shell command prints, with errors among it, and how it ended unless that was well."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"") + f"\n(stopped after {COMMAND_LIMIT_S} s)\n".encode()
    return done.stdout + (f"\n(ended with {done.returncode})\n".encode() if done.returncode else b"")


def add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file that is not on the disk."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def add_json(archive: tarfile.TarFile, name: str, content: object) -> None:
    """Add a JSON file."""
    add_bytes(archive, name, json.dumps(content, sort_keys=True).encode())


def found_at(path: Path) -> Iterator[tuple[str, BinaryIO | None]]:
    """A file by the name ".", or a folder and all folders (None) and files in it by their path below it.

    Whoever may write there may put links there at any moment: none is followed, and only plain files are opened.
    """
    if not path.is_dir():
        with contextlib.suppress(OSError), open_file(path) as stream:
            yield ".", stream
    for place, folders, files, handle in os.fwalk(path):
        folders.sort()
        below = os.path.relpath(place, path)
        yield below, None
        for name in sorted(files):
            with contextlib.suppress(OSError), open_file(name, handle) as stream:
                yield os.path.normpath(f"{below}/{name}"), stream


def add_found(archive: tarfile.TarFile, into: str, path: Path) -> None:
    """Add a file, or a folder with all in it, without what tells about the host's users."""
    for name, stream in found_at(path):
        entry = tarfile.TarInfo(os.path.normpath(f"{into}/{name}"))
        if stream is None:
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        else:
            status = os.fstat(stream.fileno())
            entry.size, entry.mtime = status.st_size, int(status.st_mtime)
        archive.addfile(entry, stream)


def digests_below(folder: Path) -> dict[str, Any]:
    """Size and SHA-256 of each file by its path below the folder."""
    files = ((name, stream) for name, stream in found_at(folder) if stream is not None)
    return {name: {"bytes": os.fstat(stream.fileno()).st_size, "sha256": sha256(stream)} for name, stream in files}


def pack(archive: tarfile.TarFile, items: list[dict[str, Any]]) -> list[str]:
    """Add the items; returns the paths that are not there."""
    missing = []
    for item in items:
        path = Path(item["path"])
        if not path.exists():
            missing.append(item["path"])
        elif item["digests"]:
            add_json(archive, item["into"], digests_below(path))
        else:
            add_found(archive, item["into"], path)
    return missing


def main() -> None:
    """Entry point for Ansible."""
    item = {
        "path": {"type": "path", "required": True},
        "into": {"type": "str", "required": True},
        "digests": {"type": "bool", "default": False},
    }
    command = {"run": {"type": "str", "required": True}, "into": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "items": {"type": "list", "elements": "dict", "required": True, "options": item},
            "commands": {"type": "list", "elements": "dict", "default": [], "options": command},
            "description": {"type": "str", "required": True},
            "program": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
        },
    )
    dest = Path(module.params["dest"])
    about = describe_host(module.params["program"])
    with tarfile.open(dest, "w") as archive:
        missing = pack(archive, module.params["items"])
        for command in module.params["commands"]:
            add_bytes(archive, command["into"], output_of(command["run"]))
        add_json(archive, module.params["description"], about)
    # The folder belongs to the user of the connection, who is to fetch the archive and need not be root.
    folder = dest.parent.stat()
    os.chown(dest, folder.st_uid, folder.st_gid)
    with dest.open("rb") as packed:
        digest = sha256(packed)
    module.exit_json(changed=False, missing=missing, bytes=dest.stat().st_size, sha256=digest)


if __name__ == "__main__":
    main()
