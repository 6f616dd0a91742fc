"""What the static tests share."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.project import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it, with these tests' own Python packages in its .venv."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    left_by_runs = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    folder = tmp_path / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", *left_by_runs))
    venv = folder / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():
        (venv / part.name).symlink_to(part)
    (venv / "installed").unlink(missing_ok=True)
    (venv / "installed").write_text(f"{folder}\n{(folder / 'requirements.lock').read_text()}", encoding="utf-8")
    return folder
