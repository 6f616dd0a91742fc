"""Ansible module: open a run on the controller."""

from __future__ import annotations

import json
import os
import platform
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: open_run
short_description: Open a run on the controller
description:
  - Makes a folder of its own below the results, writes into it what is to be done (C(plan.json)) and points C(latest) to it.
options:
  results: {description: Folder of all results; made when missing., type: path, required: true}
  plan: {description: What is to be done; goes into C(plan.json)., type: dict, required: true}
"""

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


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={"results": {"type": "path", "required": True}, "plan": {"type": "dict", "required": True}},
    )
    versions = {"ansible": module.ansible_version, "python": platform.python_version()}
    plan = {**module.params["plan"], "versions": versions}
    run_id = open_run(Path(module.params["results"]), plan, time.time())
    module.exit_json(changed=True, run_id=run_id)


if __name__ == "__main__":
    main()
