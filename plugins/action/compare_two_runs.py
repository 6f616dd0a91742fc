"""Ansible action on the controller: what differs between two runs, and whether the second is worse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))

HEADINGS = ("mode", "A s", "B s", "change", "verdict", "because")


def compare(a_folder: Path, b_folder: Path, threshold: float) -> dict[str, Any]:
    """Write the comparison's page beside the runs; returns its text and the modes that got worse. Raises ReportError."""
    from module_utils.report import documents, history, pages, run_data, tables

    a, b = run_data.load(a_folder), run_data.load(b_folder)
    found = history.differences(a, b, threshold)
    page = a_folder.parent / f"compare-{a.run_id}-{b.run_id}.html"
    maker = pages.Pages()
    documents.write_text(page, maker.comparison(a, b, found, threshold))
    rows = [
        (
            one.mode,
            tables.number(one.a.median if one.a else None, ",.3f"),
            tables.number(one.b.median if one.b else None, ",.3f"),
            tables.number(one.change, "+.0%"),
            one.verdict,
            one.reason,
        )
        for one in found
    ]
    regressions = [f"{one.mode} ({one.reason})" for one in found if one.regressed]
    conditions = [f"  - {condition}" for condition in history.other_conditions(a, b)]
    lines = [
        f"A: {a.run_id}, B: {b.run_id}; a change counts from {threshold:.0%} on",
        *(["Not the same conditions:", *conditions] if conditions else []),
        "",
        *tables.table(HEADINGS, rows),
        "",
        f"Verdict: {'REGRESSION' if regressions else 'NO REGRESSION'}",
        f"Page: {page}",
    ]
    return {"report_text": "\n".join(lines), "regressions": regressions}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: a, b (folders of runs), threshold (share of the wall time from which a change counts)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare; returns report_text for the end of the run, and regressions. A regression does not fail here."""
        from module_utils.report.run_data import ReportError

        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                **{name: {"type": "path", "required": True} for name in ("a", "b")},
                "threshold": {"type": "float", "required": True},
            }
        )
        try:
            found = compare(Path(given["a"]), Path(given["b"]), given["threshold"])
        except ReportError as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible repeats causes
        result.update(changed=False, **found)
        return result
