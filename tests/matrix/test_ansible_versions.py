"""The main job's tests under every Ansible that this project supports, each in an environment of its own; older ones are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from tests.matrix.pythons import interpreter
from tests.project import ROOT, run

pytestmark = pytest.mark.timeout(1800)

# ansible-core, the newest Python that this version of it supports among those usually there, the ansible package that brings it.
VERSIONS = [
    ("2.17", "3.11", "10"),
    ("2.18", "3.11", "11"),
    ("2.19", "3.13", "12"),
    ("2.20", "3.12", "13"),
    ("2.21", "3.13", "14"),
]
# What the controller needs beside Ansible, and what the tests need.
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = [package for package in PROJECT["optional-dependencies"]["lab"] if not package.startswith("ansible")]
PACKAGES += [*PROJECT["dependencies"], "pytest", "pytest-timeout", "pytest-xdist", "hypothesis"]
OLDEST = yaml.safe_load((ROOT / "roles" / "preflight" / "defaults" / "main.yml").read_text(encoding="utf-8"))[
    "preflight_ansible_oldest"
]


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def make_environment(folder: Path, python: str, ansible: str) -> Path:
    """A virtual environment with this Ansible."""
    made = run("uv", "venv", "--quiet", "--python", interpreter(python), str(folder))
    assert made.returncode == 0, made.stdout
    installed = run(
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        str(folder / "bin" / "python"),
        f"ansible=={ansible}.*",
        *PACKAGES,
    )
    assert installed.returncode == 0, installed.stdout
    return folder / "bin"


@pytest.mark.parametrize(
    ("core", "python", "ansible"), VERSIONS, ids=[f"core {core}, Python {python}" for core, python, _ in VERSIONS]
)
def test_main_job(tmp_path: Path, core: str, python: str, ansible: str) -> None:
    tools = make_environment(tmp_path / "venv", python, ansible)
    playbook = str(tools / "ansible-playbook")
    assert f"core {core}." in run(playbook, "--version").stdout
    if number(core) < number(OLDEST):
        for inventory in ("inventory/lab.yml", "inventory/real.example.yml"):
            refused = run(playbook, "-i", inventory, "playbooks/preflight.yml")
            assert refused.returncode != 0
            assert f"at least {OLDEST}" in " ".join(refused.stdout.split()), refused.stdout  # its lines are wrapped
        return
    result = run(str(tools / "python"), "-m", "pytest", "-q", "tests/lab/test_main_job.py", timeout_s=1500)
    assert result.returncode == 0, result.stdout
