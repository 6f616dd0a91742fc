"""Files written whole and digested."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from module_utils import host_files


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, mode in ((b"old", 0o600), (b"new", 0o644)):
        host_files.put_file(path, content, mode)
        assert path.stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"new"


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full_disk(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fchmod", full_disk)
    with pytest.raises(OSError, match="no space"):
        host_files.put_file(path, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_the_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as stream:
        assert host_files.sha256(stream) == hashlib.sha256(content).hexdigest()
