"""Ansible action on the controller: the page of a sweep over profiles, made from its runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: sweep (folder with its sweep.json, beside the runs it names)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the page; returns report_text for the end of the run."""
        from module_utils.report import documents, pages
        from module_utils.report.run_data import ReportError

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"sweep": {"type": "path", "required": True}})
        try:
            page = documents.write_sweep(Path(given["sweep"]), pages.Pages())
        except ReportError as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible repeats causes
        result.update(changed=False, report_text=f"Sweep: {page}")
        return result
