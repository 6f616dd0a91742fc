"""Key files: whole, private, never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from udpxfer import keys
from udpxfer.errors import Code, TransferError


def test_a_new_key_is_private_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.generate(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(keys.load(str(path))) == keys.KEY_BYTES
    assert os.listdir(tmp_path) == ["key"]


def test_an_old_key_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.generate(str(path))
    before = path.read_bytes()
    with pytest.raises(TransferError) as error:
        keys.generate(str(path))
    assert error.value.code is Code.KEY_EXISTS
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize(
    ("content", "mode", "code"),
    [
        (b"00" * 32, 0o644, Code.KEY_EXPOSED),
        (b"00" * 32, 0o640, Code.KEY_EXPOSED),
        (b"00" * 31, 0o600, Code.KEY_INVALID),
        (b"no key", 0o600, Code.KEY_INVALID),
        (b"", 0o600, Code.KEY_INVALID),
        (None, 0, Code.KEY_MISSING),
    ],
)
def test_unusable_keys_are_refused(tmp_path: Path, content: bytes | None, mode: int, code: Code) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(TransferError) as error:
        keys.load(str(path))
    assert error.value.code is code
    assert error.value.fix
