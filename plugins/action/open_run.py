"""Ansible action on the controller: open a run.

Makes a folder of its own below the results, writes into it what is to be done and points `latest` to it.
"""

from __future__ import annotations

import json
import os
import platform
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import __version__ as ansible_version
from ansible.plugins.action import ActionBase

PLAN_SCHEMA = 1


def make_run_folder(results: Path, now: float) -> Path:
    """Make RESULTS/<time>, or <time>-2, <time>-3, ... when several runs start in one second."""
    results.mkdir(parents=True, exist_ok=True)
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    count = 1
    while True:
        folder = results / (stamp if count == 1 else f"{stamp}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            count += 1
        else:
            return folder


def point_latest(folder: Path) -> None:
    """Let `latest` beside the folder point to it, with no moment in which it is not there."""
    temporary = folder.with_name(f".latest.{os.getpid()}")
    temporary.symlink_to(folder.name)
    temporary.replace(folder.with_name("latest"))


def open_run(results: Path, plan: dict[str, Any], now: float) -> str:
    """Open a run and return its id."""
    folder = make_run_folder(results, now)
    content = {"schema": PLAN_SCHEMA, "run_id": folder.name, "start": now, **plan}
    (folder / "plan.json").write_text(json.dumps(content, indent=2) + "\n")
    point_latest(folder)
    return folder.name


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: results (folder of all results), plan (what is to be done; goes into plan.json)."""

    _requires_connection = False
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Open the run; returns its run_id."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {"results": {"type": "path", "required": True}, "plan": {"type": "dict", "required": True}}
        )
        versions = {"ansible": ansible_version, "python": platform.python_version()}
        plan = {**given["plan"], "versions": versions}
        result.update(changed=True, run_id=open_run(Path(given["results"]), plan, time.time()))
        return result
