"""Ansible action on the controller: open a run.

Makes a folder of its own below the results, writes into it what is to be done and points `latest` to it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible import __version__ as ansible_version
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PLAN_SCHEMA = 1
# A folder here and on the hosts, and with ".repeats" part of a label, which the engine keeps to 64 letters.
RUN_NAME = re.compile(r"(?!latest$)[A-Za-z0-9][A-Za-z0-9._-]{0,55}")


def make_named_folder(results: Path, name: str) -> Path:
    """Make RESULTS/<name>. Raises AnsibleActionFail when that is no name for a run, or not free."""
    if not RUN_NAME.fullmatch(name):
        message = (
            f"A run cannot be called {name!r}. Give run_id letters, digits, dot, dash and underscore, at most 56, "
            "or leave it out: a new run is named after its time."
        )
        raise AnsibleActionFail(message)
    folder = results / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        message = (
            f"{folder} is there already, and a mode opens a new run. Leave run_id out or give another one; to look at "
            "that run again, use --tags collect, compare or report."
        )
        raise AnsibleActionFail(message) from None
    return folder


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


def open_run(results: Path, plan: dict[str, Any], now: float, name: str = "") -> str:
    """Open a run and return its id: the name, or one after the time."""
    folder = make_named_folder(results, name) if name else make_run_folder(results, now)
    content = {"schema": PLAN_SCHEMA, "run_id": folder.name, "start": now, **plan}
    (folder / "plan.json").write_text(json.dumps(content, indent=2) + "\n")
    point_latest(folder)
    return folder.name


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible ships no types
    """Options: results (folder of all results), plan (what is to be done; goes into plan.json), name (of the run; may be empty)."""

    _requires_connection = False
    _supports_check_mode = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Open the run; returns its run_id."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, given = self.validate_argument_spec(
            {
                "results": {"type": "path", "required": True},
                "plan": {"type": "dict", "required": True},
                "name": {"type": "str", "default": ""},
            }
        )
        versions = {"ansible": ansible_version, "python": platform.python_version()}
        plan = {**given["plan"], "versions": versions}
        run_id = open_run(Path(given["results"]), plan, time.time(), given["name"])
        result.update(changed=True, run_id=run_id)
        return result
