"""The main job as a user without any rights but subordinate ids, in a lab of that user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from udpxfer.modes import MODES

from tests.project import ROOT, environment

UID = 987_654
NOT_COPIED = (
    ".git",
    ".venv",
    ".lab",
    ".secrets",
    ".cache",
    ".ansible",
    ".mypy_cache",
    ".ruff_cache",
    "results",
    "dist",
)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="udpxfer-plain-user-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def processes() -> list[str]:
    """What still runs as the user; the dead that nobody has waited for yet have no command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == UID and (command := (path / "cmdline").read_bytes()):
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="tests/lab/test_main_job.py itself runs as a plain user then")
def test_five_modes_as_a_plain_user(scratch: Path) -> None:
    project = scratch / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*NOT_COPIED, "__pycache__"), symlinks=True)
    for path in (project, *project.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    script = "cd project; ansible-playbook run_all.yml || exit 1; ansible-playbook playbooks/lab_down.yml"
    as_user = ["unshare", "--mount", "sh", str(ROOT / "tests/lab/as_plain_user.sh"), str(scratch), str(UID)]
    done = subprocess.run(
        [*as_user, f"{ROOT} {sys.base_prefix}", "sh", "-c", script],
        cwd=scratch,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    document = json.loads((project / "results/latest/run.json").read_text())
    assert [mode["mode"] for mode in document["modes"]] == list(MODES)
    assert document["verdict"] == {"passed": True, "reasons": []}
    assert (project / "results/latest").stat().st_uid == UID
    assert processes() == []
