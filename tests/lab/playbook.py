"""Runs playbooks against a lab of the tests' own and tells what each host reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.project import ROOT, environment

TIME_LIMIT_S = 540  # below that of pytest; a busy machine takes five times as long as an idle one


@dataclass(frozen=True)
class PlaybookRun:
    """How a playbook ended, Ansible's own report of it (callback ansible.posix.json) and what was printed after that."""

    status: int
    report: dict[str, Any]
    printed: str
    errors: str

    def _results(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Task, host and result of all that ran."""
        return [
            (task["task"]["name"], host, result)
            for play in self.report["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
        ]

    @property
    def changed(self) -> list[str]:
        """Every task that changed a host."""
        return [f"{host}: {task}" for task, host, result in self._results() if result.get("changed")]

    @property
    def failed(self) -> list[str]:
        """Every task that failed, with its message."""
        return [
            f"{host}: {task}: {result.get('msg', result)}"
            for task, host, result in self._results()
            if result.get("failed") or result.get("unreachable")
        ]

    def did(self, name: str) -> bool:
        """Whether a task with this in its name ran."""
        return any(name in task for task, _, _ in self._results())

    def of(self, name: str, host: str) -> dict[str, Any]:
        """What the task with this in its name said of a host."""
        return next(result for task, of, result in self._results() if name in task and of == host)

    @property
    def messages(self) -> list[str]:
        """The error texts of what failed, in their order."""
        return [str(result.get("msg")) for _, _, result in self._results() if result.get("failed")]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Ansible's recap by host."""
        stats: dict[str, dict[str, int]] = self.report["stats"]
        return stats

    def explain(self) -> str:
        """For a failed assertion."""
        return "\n".join([f"exit status {self.status}", *self.failed, self.printed, self.errors])


@dataclass(frozen=True)
class Lab:
    """An embedded lab beside the user's own: its inventory, results and key are elsewhere."""

    lab_id: str
    folder: Path

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory" / "lab.yml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def state(self) -> Path:
        """Where the lab keeps its sockets, keys and logs."""
        return ROOT / ".lab" / self.lab_id

    def copy_inventory(self) -> None:
        """The project's inventories with another lab id."""
        shutil.copytree(ROOT / "inventory", self.inventory.parent)
        description = self.inventory.parent / "group_vars" / "all" / "lab.yml"
        text = description.read_text(encoding="utf-8")
        description.write_text(text.replace("lab_id: main", f"lab_id: {self.lab_id}"), encoding="utf-8")

    @property
    def settings(self) -> dict[str, str]:
        """What keeps results and key out of the user's folders."""
        return {
            "run_results_dir": str(self.results),
            "udpxfer_key_source": str(self.folder / "secrets" / "lab.key"),
        }

    def inside(self, command: list[str]) -> list[str]:
        """The command as it is called; a lab on another machine runs it there."""
        return command

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of what this lab calls."""
        return environment(**extra)

    def play(self, playbook: str, *arguments: str, inventory: Path | None = None) -> PlaybookRun:
        """Runs a playbook of the project, on the lab's hosts or on those of another inventory."""
        hosts = str(inventory or self.inventory)
        command = ["ansible-playbook", "-i", hosts, "-e", json.dumps(self.settings), playbook, *arguments]
        # A process group of its own: at the time limit Ansible's workers end with it.
        with subprocess.Popen(
            self.inside(command),
            cwd=ROOT,
            env=self.environment(ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", ANSIBLE_NOCOLOR="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as process:
            try:
                output, errors = process.communicate(timeout=TIME_LIMIT_S)
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                raise
        start = output.find("{")
        if start < 0:  # refused before the first play
            return PlaybookRun(process.returncode, {"plays": [], "stats": {}}, output, errors)
        report, end = json.JSONDecoder().raw_decode(output, start)
        return PlaybookRun(process.returncode, report, output[end:], errors)

    def run_ids(self) -> set[str]:
        """The runs with results."""
        return {path.name for path in self.results.glob("*") if path.is_dir() and not path.is_symlink()}

    def document(self, run_id: str) -> dict[str, Any]:
        """run.json of a run."""
        document: dict[str, Any] = json.loads((self.results / run_id / "run.json").read_text(encoding="utf-8"))
        return document
