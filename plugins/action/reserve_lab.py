"""Ansible action on the controller: let a lab belong to one run, so that no other changes it meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils.processes import reserve


def reserve_lab(lab: str, file: Path, pid: int) -> None:
    """Note in the file that process `pid` has the lab. Raises AnsibleActionFail when another one that still runs has it."""
    try:
        holder = reserve(file, pid)
    except OSError as error:
        raise AnsibleActionFail(
            f"{file} cannot be written: {error.strerror}. Run as its owner, or remove it."
        ) from None  # Ansible repeats causes
    if holder is not None:
        raise AnsibleActionFail(
            f"lab '{lab}' belongs to a run that has not ended (process {holder}). Let it end, or use another lab: -e lab_id=second; "
            "on a GNS3 server also other addresses (docs/gns3.md, A class on one server)."
        )


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: lab (its id), file (where it is noted), pid (of the run, until whose end others are refused)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Reserve it; nothing is changed by that."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                "lab": {"type": "str", "required": True},
                "file": {"type": "path", "required": True},
                "pid": {"type": "int", "required": True},
            }
        )
        if not self._task.check_mode:
            reserve_lab(given["lab"], Path(given["file"]), given["pid"])
        result["changed"] = False
        return result
