"""A lab driven by the lab program's command line, without Ansible."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.traces import Traces
from tests.project import ROOT

PROGRAM = ROOT / "roles" / "lab_embedded" / "files" / "lab.py"
HOSTS = {"alpine-1": "192.168.122.11", "alpine-2": "192.168.122.12"}
DESCRIPTION = {"nat": {"address": "192.168.122.1/24"}, "nodes": [{"name": n, "address": a} for n, a in HOSTS.items()]}
DEADLINE_S = 60.0


def impaired(links: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """The description with impairments by host and direction."""
    found = [{"node": name, "to_host": {}, "from_host": {}, **link} for name, link in links.items()]
    return {**DESCRIPTION, "links": found, "profile": "own" if links else "clean"}


def wait_until(what: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    """False when it did not come true in time."""
    deadline = time.monotonic() + deadline_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass(frozen=True)
class ProgramLab:
    """A lab by its folder, driven by the program's command line."""

    folder: Path

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, str(PROGRAM), verb, str(self.folder), *arguments]

    def run(
        self, verb: str, *arguments: str, description: dict[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        text = json.dumps(description or DESCRIPTION)
        command = self.command(verb, *arguments)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd="/")

    def call(self, verb: str, *arguments: str, description: dict[str, Any] | None = None) -> dict[str, Any]:
        done = self.run(verb, *arguments, description=description)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def impair(self, links: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
        """Impairments by host and direction."""
        return self.call("impair", description=impaired(links))

    def ssh(self, host: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        ssh = ["ssh", "-F", str(self.folder / "ssh_config"), *options, host, command]
        return subprocess.run(ssh, capture_output=True, text=True, check=False, timeout=DEADLINE_S, cwd="/")

    def boot_id(self, host: str) -> str:
        """Empty while the host does not answer."""
        return self.ssh(host, "cat /proc/sys/kernel/random/boot_id").stdout.strip()

    @property
    def holder(self) -> int:
        return int(json.loads((self.folder / "state.json").read_text())["pid"])

    def traces(self, namespaces: set[str]) -> Traces:
        return Traces.of(self.folder, namespaces)
