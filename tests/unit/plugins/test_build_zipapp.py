from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from action import build_zipapp


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "hello"
    (folder / "core").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "core" / "__init__.py").write_text("ANSWER = 42\n")
    (folder / "__main__.py").write_text("from .core import ANSWER\n\n\ndef main() -> int:\n    return ANSWER\n")
    return folder


def test_it_runs_and_gives_the_status_of_main(package: Path, tmp_path: Path) -> None:
    program = tmp_path / "hello.pyz"
    program.write_bytes(build_zipapp.zipapp_bytes(package))
    assert subprocess.run([sys.executable, program], check=False).returncode == 42
    assert program.read_bytes().startswith(b"#!/usr/bin/env python3\n")


def test_same_sources_same_bytes(package: Path) -> None:
    before = build_zipapp.zipapp_bytes(package)
    for path in package.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "core.pyc").write_bytes(b"made by running it")
    assert build_zipapp.zipapp_bytes(package) == before


def test_other_sources_other_bytes(package: Path) -> None:
    before = build_zipapp.zipapp_bytes(package)
    (package / "core" / "__init__.py").write_text("ANSWER = 43\n")
    assert build_zipapp.zipapp_bytes(package) != before
