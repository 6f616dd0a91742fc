"""What `make release` builds: the same bytes from any checkout, and programs that run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from udpxfer import __version__

from tests.project import ROOT
from tools import release


def checkout(folder: Path, mode: int) -> Path:
    """The sources as another user's checkout has them: other times and modes, and traces of use."""
    for name in (*release.WHEEL_SOURCES, "CHANGELOG.md"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, copy_function=shutil.copyfile, ignore=release.IGNORED)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    for path in folder.rglob("*.py"):
        path.chmod(mode)
    (folder / "files/udpxfer/__pycache__").mkdir()
    (folder / "files/udpxfer/__pycache__/left.pyc").write_bytes(bytes([mode & 0xFF]))
    return folder


def bytes_by_name(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    release.release(checkout(folder / "one", 0o644), folder / "dist")
    return folder / "dist"


def test_other_checkouts_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    release.release(checkout(tmp_path / "two", 0o600), tmp_path / "dist")
    assert bytes_by_name(tmp_path / "dist") == bytes_by_name(built)
    assert sorted(bytes_by_name(built)) == [
        "SHA256SUMS",
        f"udpxfer-{__version__}-py3-none-any.whl",
        f"udpxfer-{__version__}.pyz",
    ]


def test_sums_are_right(built: Path) -> None:
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=built, check=False).returncode == 0


def test_zipapp_and_wheel_run(built: Path, tmp_path: Path) -> None:
    zipapp = [sys.executable, str(next(built.glob("*.pyz"))), "--version"]
    venv.create(tmp_path / "venv", with_pip=True)
    wheel = next(built.glob("*.whl"))
    install = [str(tmp_path / "venv/bin/python"), "-m", "pip", "install", "-qq", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    for command in (zipapp, [str(tmp_path / "venv/bin/udpxfer"), "--version"]):
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"udpxfer {__version__}\n"


def test_the_one_file_is_all_a_transfer_takes(built: Path, tmp_path: Path) -> None:
    udpxfer = [sys.executable, str(next(built.glob("*.pyz")))]
    key, source, into = (str(tmp_path / name) for name in ("KEYFILE", "FILE", "DIR"))
    Path(source).write_bytes(os.urandom(1_000_000))
    subprocess.run([*udpxfer, "keygen", key], check=True)
    receive = [*udpxfer, "receive", "--bind", "127.0.0.1:0", "--into", into, "--key-file", key]
    with subprocess.Popen(receive, stdout=subprocess.PIPE) as receiver:
        try:
            assert receiver.stdout is not None
            address = json.loads(receiver.stdout.readline())["address"]
            subprocess.run([*udpxfer, "send", f"{source}={address}", "--key-file", key], check=True)
        finally:
            receiver.terminate()
    assert Path(into, "FILE").read_bytes() == Path(source).read_bytes()


def test_a_change_log_without_the_version_builds_nothing(tmp_path: Path) -> None:
    root = checkout(tmp_path / "one", 0o644)
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## 0.0.0\n")
    with pytest.raises(SystemExit, match="CHANGELOG"):
        release.release(root, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
