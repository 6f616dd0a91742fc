"""Ansible action on the controller: everything that is shown about a run, made from its run.json."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))


def render(folder: Path) -> str:
    """Write the run's pages and tables and the index over all runs; returns the text for the terminal.

    Raises ReportError.
    """
    from module_utils.report import documents, pages, tables

    maker = pages.Pages()
    run = documents.write_run(folder, maker)
    index = documents.write_index(folder.parent, maker)
    return tables.terminal(run, [f"Report: {folder / 'report.html'}", f"All runs: {index}"])


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: run (folder of the run)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render; returns the terminal's text as report_text, which the callback run_report prints at the end."""
        from module_utils.report.run_data import ReportError

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"run": {"type": "path", "required": True}})
        try:
            result.update(changed=False, report_text=render(Path(given["run"])))
        except ReportError as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible repeats causes
        return result
