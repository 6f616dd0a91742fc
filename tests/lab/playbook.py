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

TIME_LIMIT_S = 240


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
        """The project's inventory with another lab id."""
        shutil.copytree(ROOT / "inventory", self.inventory.parent)
        for path in self.inventory.parent.rglob("*.yml"):
            text = path.read_text(encoding="utf-8")
            text = text.replace(".lab/main", f".lab/{self.lab_id}").replace("lab_id: main", f"lab_id: {self.lab_id}")
            path.write_text(text, encoding="utf-8")

    def play(self, playbook: str, *arguments: str) -> PlaybookRun:
        """Runs a playbook of the project."""
        settings = {
            "run_results_dir": str(self.results),
            "udpxfer_key_source": str(self.folder / "secrets" / "lab.key"),
        }
        command = ["ansible-playbook", "-i", str(self.inventory), "-e", json.dumps(settings), playbook, *arguments]
        # A process group of its own: at the time limit Ansible's workers end with it.
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(ANSIBLE_STDOUT_CALLBACK="ansible.posix.json", ANSIBLE_NOCOLOR="1"),
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
        return {path.name for path in self.results.glob("*") if not path.is_symlink()}

    def document(self, run_id: str) -> dict[str, Any]:
        """run.json of a run."""
        document: dict[str, Any] = json.loads((self.results / run_id / "run.json").read_text(encoding="utf-8"))
        return document
