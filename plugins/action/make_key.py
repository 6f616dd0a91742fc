"""Ansible action on the controller: make the key that clients and receivers share, once, or anew when it is to be rotated."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# What udpxfer.keys reads: one line of 64 hexadecimal digits, readable by its owner only.
KEY_BYTES = 32


def make_key(dest: Path, *, rotate: bool) -> None:
    """Write a new key: whole or not at all, never in the place of another unless it is to be rotated."""
    dest.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = dest.with_name(f".{dest.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if rotate:
            temporary.replace(dest)
        else:
            os.link(temporary, dest)
    finally:
        temporary.unlink(missing_ok=True)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: dest (file on the controller), rotate (true makes a new key although there is one)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the key unless it is there; tells nothing but whether it did."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {"dest": {"type": "path", "required": True}, "rotate": {"type": "bool", "default": False}}
        )
        dest = Path(given["dest"])
        result["changed"] = given["rotate"] or not dest.exists()
        if result["changed"] and not self._task.check_mode:
            make_key(dest, rotate=given["rotate"])
        return result
