"""What a run must have left on its hosts, read from its run.json: `pytest tests/infra --ansible-inventory=FILE`."""

from __future__ import annotations

import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host
from testinfra.utils.ansible_runner import AnsibleRunner

from tests.project import ROOT

# testinfra calls ansible-inventory by its name: that of this environment, also when it is not activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@dataclass(frozen=True)
class Run:
    """A run as its run.json tells it."""

    document: dict[str, Any]

    @property
    def run_id(self) -> str:
        return str(self.document["run_id"])

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 at the source by image name."""
        return {image["name"]: image["sha256"] for image in self.document["images"]}

    def name_of(self, host: Host) -> str:
        """A host's name in the run; testinfra knows the address it connects to."""
        known = {host["address"]: str(host["name"]) for host in self.document["hosts"]}
        hostname = str(host.backend.get_hostname())
        return known.get(hostname, hostname)

    def transfers(self, role: str, host: Host) -> list[tuple[str, dict[str, Any]]]:
        """Mode and transfer of all that this host sent (role client) or got (server); skips the test when there are none."""
        name = self.name_of(host)
        modes = self.document["modes"]
        found = [(mode["mode"], sent) for mode in modes for sent in mode["transfers"] if sent[role] == name]
        if not found:
            pytest.skip(f"{name} had no transfers in this run: it has more hosts than images")
        return found


class DockerNode(BaseBackend):  # type: ignore[misc]  # testinfra ships no types
    """A host that Ansible reaches by the docker command, known by its name in the inventory."""

    NAME = "docker"

    def __init__(self, name: str, container: str, options: str) -> None:
        """`options` of the docker command name another machine's daemon, for example."""
        super().__init__(name)
        self._container, self._options = container, options.replace("%", "%%")

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:  # noqa: ARG002 (as testinfra calls it)
        """Run a shell command there."""
        line = self.get_command(command, *args)
        return self.run_local(f"docker {self._options} exec %s /bin/sh -c %s", self._container, line)


@functools.cache
def docker_of(name: str, inventory: str | None) -> list[str]:
    """Container and options of the docker command, which the inventory may give as templates: Ansible evaluates them."""
    wanted = "msg={{ [ansible_docker_host, ansible_docker_extra_args | default('')] }}"
    found: list[str] = AnsibleRunner.get_runner(inventory).run_module(name, "debug", wanted)["msg"]
    return found


@pytest.fixture(scope="module")
def host(host: Host) -> Host:
    """A host of the inventory. testinfra would ask Docker for a container of its address, or Ansible, which takes seconds for each question."""
    asked = host.backend
    if not asked.HAS_RUN_ANSIBLE or asked.get_variables().get("ansible_connection") != "community.docker.docker":
        return host
    node = DockerNode(asked.get_hostname(), *docker_of(asked.get_hostname(), asked.ansible_inventory))
    found = Host(node)
    node.set_host(found)
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--run-folder", type=Path, default=ROOT / "results" / "latest", help="the run to check (results/latest)"
    )


@pytest.fixture(scope="session")
def the_run(request: pytest.FixtureRequest) -> Run:
    path = request.config.getoption("--run-folder") / "run.json"
    if not path.exists():
        pytest.exit(
            f"{path} does not exist: run `make run` first, or name a run by --run-folder=results/RUN", returncode=2
        )
    return Run(json.loads(path.read_text(encoding="utf-8")))
