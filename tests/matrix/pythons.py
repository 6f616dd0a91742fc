"""This machine's Python interpreters by version."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.project import environment, run


def interpreter(version: str) -> str:
    """The path of a Python of this version; the test is skipped where there is none."""
    # pyenv's own commands on PATH only know the versions it is told to use, so the real ones come first.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(str(path) for path in pyenv.glob(f"versions/{version}.*/bin"))
    variables = environment()
    variables["PATH"] = os.pathsep.join([*installed, variables["PATH"]])
    variables.pop("VIRTUAL_ENV", None)
    found = run("uv", "python", "find", "--no-python-downloads", version, env=variables)
    if found.returncode != 0:
        pytest.skip(f"no Python {version} on this machine")
    return found.stdout.strip()
