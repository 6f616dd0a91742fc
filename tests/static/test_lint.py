"""Linters, type checker and formatters, all started at once so that they share the cores."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.project import ROOT, environment

SOURCE_FOLDERS = [
    name for name in ("bench", "files", "plugins", "roles", "tests", "tools") if any((ROOT / name).rglob("*.py"))
]
# What runs on hosts must run on Python 3.9.
HOST_PYTHON = [str(path) for folder in ("files", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]
SHELL_SCRIPTS = [".ci/run", *(str(path) for folder in SOURCE_FOLDERS for path in sorted((ROOT / folder).rglob("*.sh")))]

LINTERS = {
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "--diff", "."],
    "mypy": ["mypy", "--no-error-summary", *SOURCE_FOLDERS],
    "vermin": ["vermin", "--quiet", "--no-tips", "--eval-annotations", "--violations", "--target=3.9-", *HOST_PYTHON],
    "shellcheck": ["shellcheck", *SHELL_SCRIPTS],
    "yamllint": ["yamllint", "--strict", "."],
    "ansible-lint": ["ansible-lint", "-q", "--nocolor"],
}


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Every linter as a process already under way."""
    processes = {
        name: subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in LINTERS.items()
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", LINTERS)
def test_linter_is_content(name: str, running: dict[str, subprocess.Popen[str]]) -> None:
    output, _ = running[name].communicate(timeout=580)
    if running[name].returncode != 0:
        pytest.fail(f"{' '.join(LINTERS[name])}\n{output}", pytrace=False)
