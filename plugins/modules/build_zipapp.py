"""Ansible module: make one runnable file of a Python package, the same bytes for the same sources."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: build_zipapp
short_description: Make one runnable file of a Python package
description:
  - Writes a zipapp whose bytes depend on nothing but the sources, so a second build changes nothing.
options:
  source: {description: Folder of the package; its C(__main__.py) has a function C(main)., type: path, required: true}
  dest: {description: File to write; its folder is made when missing., type: path, required: true}
"""

SHEBANG = b"#!/usr/bin/env python3\n"
# The oldest time a zip can hold: real file times would make every checkout build other bytes.
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def zipapp_bytes(package: Path) -> bytes:
    """The zipapp of the package in this folder: sorted entries, fixed times, nothing compressed.

    Compressed bytes would differ between versions of zlib; the file is small and travels once.
    """
    start = f"import sys\n\nfrom {package.name}.__main__ import main\n\nsys.exit(main())\n"
    sources = sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    entries = {f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes() for path in sources}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {"__main__.py": start.encode(), **entries}.items():
            entry = zipfile.ZipInfo(name, FIXED_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return SHEBANG + buffer.getvalue()


def replace_file(dest: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=dest.parent, prefix=f".{dest.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        Path(temporary).replace(dest)
    except BaseException:
        Path(temporary).unlink()
        raise


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={"source": {"type": "path", "required": True}, "dest": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    source, dest = Path(module.params["source"]), Path(module.params["dest"])
    if not (source / "__main__.py").is_file():
        module.fail_json(msg=f"{source} is no runnable Python package: it has no __main__.py.")
    content = zipapp_bytes(source)
    changed = not dest.is_file() or dest.read_bytes() != content
    if changed and not module.check_mode:
        replace_file(dest, content)
    module.exit_json(changed=changed, dest=str(dest))


if __name__ == "__main__":
    main()
