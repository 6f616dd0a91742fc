"""Ansible action on the controller: render run.json as a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

Json = dict[str, Any]

HEADINGS = ("mode", "seconds", "image", "server", "bytes", "MB/s", "resent", "verified")
# Numbers line up on their last digit.
RIGHT = {"seconds", "bytes", "MB/s", "resent"}


def number(value: float | None, form: str = ",.0f") -> str:
    """A number for the table, a dash for one that is not known."""
    return "-" if value is None else format(value, form)


def rows(run: Json) -> list[tuple[str, ...]]:
    """One row per mode and transfer; the mode and its time stand in its first row only."""
    content: list[tuple[str, ...]] = []
    for mode in run["modes"]:
        head = (mode["mode"], number(mode["wall_seconds"], ".3f"))
        for transfer in mode["transfers"]:
            goodput = transfer["goodput_bytes_per_s"]
            content.append(
                (
                    *head,
                    transfer["image"],
                    transfer["server"],
                    number(transfer["bytes"]),
                    number(None if goodput is None else goodput / 1e6, ".1f"),
                    number(transfer["retransmitted_bytes"]),
                    "yes" if transfer["verified"] else "NO",
                )
            )
            head = ("", "")
    return content


def table(headings: Sequence[str], content: list[tuple[str, ...]]) -> list[str]:
    """Lines of a table with columns as wide as their longest cell."""
    widths = [max(len(row[column]) for row in [tuple(headings), *content]) for column in range(len(headings))]
    lines = []
    for row in [tuple(headings), tuple("-" * width for width in widths), *content]:
        cells = (
            cell.rjust(width) if heading in RIGHT else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings)
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def render(run: Json, folder: Path) -> str:
    """The text: which run, the table, the verdict with its reasons, and where everything lies."""
    start = datetime.fromtimestamp(run["start"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    verdict = run["verdict"]
    count = sum(len(mode["transfers"]) for mode in run["modes"])
    good = sum(transfer["verified"] for mode in run["modes"] for transfer in mode["transfers"])
    lines = [
        f"Run {run['run_id']} ({run['backend']}, {start}; {versions})",
        "",
        *table(HEADINGS, rows(run)),
        "",
        f"Verdict: {'PASSED' if verdict['passed'] else 'FAILED'}, {good} of {count} transfers verified",
        *(f"  - {reason}" for reason in verdict["reasons"]),
        f"Results: {folder}",
    ]
    return "\n".join(lines)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: run (folder of the run)."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the text as report_text; the callback run_report prints it at the end of the run."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec({"run": {"type": "path", "required": True}})
        folder = Path(given["run"])
        try:
            run = json.loads((folder / "run.json").read_text())
        except FileNotFoundError as error:
            message = f"{folder} holds no run.json. Run with --tags compare, or run_all.yml for a new run."
            raise AnsibleActionFail(message) from error
        result.update(changed=False, report_text=render(run, folder))
        return result
