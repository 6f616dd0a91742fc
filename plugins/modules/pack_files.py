"""Ansible module: put files and folders of a host into one tar file, with a description of the host."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

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
  description: {description: Name in the archive of a JSON file about the host., type: str, required: true}
  program: {description: Program whose version goes into the description., type: path, required: true}
  dest: {description: The archive., type: path, required: true}
"""


def wanted_only(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what is neither file nor folder, and whatever tells about the host's users."""
    if not (entry.isfile() or entry.isdir()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def describe_host(program: str) -> dict[str, str | None]:
    """Versions of the host: Python, kernel, distribution and the program (None when it does not run)."""
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
    }


def pack(archive: tarfile.TarFile, items: list[dict[str, str]]) -> list[str]:
    """Add the items; returns the paths that are not there."""
    missing = []
    for item in items:
        if Path(item["path"]).exists():
            archive.add(item["path"], arcname=item["into"], filter=wanted_only)
        else:
            missing.append(item["path"])
    return missing


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> None:
    """Entry point for Ansible."""
    item = {"path": {"type": "path", "required": True}, "into": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "items": {"type": "list", "elements": "dict", "required": True, "options": item},
            "description": {"type": "str", "required": True},
            "program": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
        },
    )
    dest = Path(module.params["dest"])
    about = json.dumps(describe_host(module.params["program"])).encode()
    with tarfile.open(dest, "w") as archive:
        missing = pack(archive, module.params["items"])
        entry = tarfile.TarInfo(module.params["description"])
        entry.size = len(about)
        archive.addfile(entry, io.BytesIO(about))
    # The folder belongs to the user of the connection, who is to fetch the archive and need not be root.
    folder = dest.parent.stat()
    os.chown(dest, folder.st_uid, folder.st_gid)
    module.exit_json(changed=False, missing=missing, bytes=dest.stat().st_size, sha256=sha256(dest))


if __name__ == "__main__":
    main()
