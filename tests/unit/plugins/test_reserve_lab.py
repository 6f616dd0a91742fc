from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from action.reserve_lab import reserve_lab
from ansible.errors import AnsibleActionFail


def test_another_run_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    file = tmp_path / ".lab" / "run.json"
    with subprocess.Popen(["sleep", "600"]) as first:
        reserve_lab("main", file, first.pid)
        with pytest.raises(AnsibleActionFail, match=rf"lab 'main' belongs to a run .* \(process {first.pid}\)"):
            reserve_lab("main", file, os.getpid())
        first.kill()
    reserve_lab("main", file, os.getpid())


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"cannot be written: .* Run as its owner, or remove it"):
        reserve_lab("main", tmp_path, os.getpid())
