"""Processes named for good, and what belongs to one of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils import processes


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until it is killed."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_a_process_lives_until_it_ends(other: subprocess.Popen[bytes]) -> None:
    note = processes.note_of(other.pid)
    assert processes.lives(note)
    other.kill()
    other.wait()
    assert not processes.lives(note)


def test_a_number_that_was_given_again_is_another_process() -> None:
    note = processes.note_of(os.getpid())
    assert not processes.lives({**note, "started": "1"})
    assert not processes.lives({**note, "boot_id": "before"})


def test_what_a_process_has_is_refused_to_others_until_it_ends(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "lab" / "run.json"
    assert processes.reserve(file, other.pid) is None
    noted = file.read_bytes()
    assert processes.reserve(file, os.getpid()) == other.pid
    assert file.read_bytes() == noted
    assert processes.reserve(file, other.pid) is None
    other.kill()
    other.wait()
    assert processes.reserve(file, os.getpid()) is None
    assert json.loads(file.read_text())["pid"] == os.getpid()


def test_nobody_keeps_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    assert processes.reserve(file, 0) is None
    assert processes.reserve(file, os.getpid()) is None


@pytest.mark.parametrize("content", ["", '{"pid": 1', "{}"])
def test_a_file_half_written_is_nobodys(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)
    assert processes.reserve(file, os.getpid()) is None
    assert processes.lives(json.loads(file.read_text()))
