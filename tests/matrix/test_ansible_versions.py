"""The main job's tests under every Ansible that this project supports, each in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.project import ROOT, environment, run

pytestmark = pytest.mark.timeout(1800)

# ansible-core, the newest Python that this version of it supports among those usually there, the ansible package that brings it.
VERSIONS = [
    ("2.17", "3.11", "10"),
    ("2.18", "3.11", "11"),
    ("2.19", "3.13", "12"),
    ("2.20", "3.12", "13"),
    ("2.21", "3.13", "14"),
]
PACKAGES = [
    "jsonschema",
    "pillow",
    "pytest",
    "pytest-testinfra",
    "pytest-timeout",
    "hypothesis",
    "requests",
    "cryptography",
    "packaging",
]
OLDEST = yaml.safe_load((ROOT / "roles" / "preflight" / "defaults" / "main.yml").read_text(encoding="utf-8"))[
    "preflight_ansible_oldest"
]


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def make_environment(folder: Path, python: str, ansible: str) -> Path:
    """A virtual environment with this Ansible; skips the test where there is no such Python."""
    made = run("uv", "venv", "--quiet", "--clear", "--no-python-downloads", "--python", python, str(folder))
    if made.returncode != 0:
        pytest.skip(f"no Python {python} on this machine")
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
    if number(core) < number(OLDEST):
        refused = subprocess.run(
            [tools / "ansible-playbook", "playbooks/preflight.yml"],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
        assert f"at least {OLDEST}" in refused.stdout, refused.stdout
        return
    result = run(str(tools / "python"), "-m", "pytest", "-q", "tests/lab/test_main_job.py", timeout_s=1500)
    assert f"core {core}." in run(str(tools / "ansible-playbook"), "--version").stdout
    assert result.returncode == 0, result.stdout
