"""Ansible action on the controller: make one runnable file of a Python package, the same bytes for the same sources.

Its bytes depend on nothing but the sources, so a second build changes nothing.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils.host_files import put_file

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


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: source (folder of a package whose __main__.py has a function main), dest (file to write)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the zipapp unless it is there already."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = {name: {"type": "path", "required": True} for name in ("source", "dest")}
        _, given = self.validate_argument_spec(options)
        source, dest = Path(given["source"]), Path(given["dest"])
        if not (source / "__main__.py").is_file():
            message = f"{source} is no runnable Python package: it has no __main__.py."
            raise AnsibleActionFail(message)
        content = zipapp_bytes(source)
        result["changed"] = not dest.is_file() or dest.read_bytes() != content
        if result["changed"]:
            dest.parent.mkdir(parents=True, exist_ok=True)
            put_file(dest, content, 0o644)
        return result
