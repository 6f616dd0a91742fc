from __future__ import annotations

from pathlib import Path

import pytest
from action import make_key
from udpxfer import keys


def test_the_program_reads_the_key(tmp_path: Path) -> None:
    made = tmp_path / "secrets" / "lab.key"
    make_key.make_key(made, rotate=False)
    assert len(keys.load(str(made))) == keys.KEY_BYTES
    assert made.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in made.parent.iterdir()] == ["lab.key"]


def test_a_key_is_replaced_only_when_it_is_to_be_rotated(tmp_path: Path) -> None:
    made = tmp_path / "lab.key"
    make_key.make_key(made, rotate=False)
    first = made.read_bytes()
    with pytest.raises(FileExistsError):
        make_key.make_key(made, rotate=False)
    assert made.read_bytes() == first
    make_key.make_key(made, rotate=True)
    assert made.read_bytes() != first
    assert made.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["lab.key"]
