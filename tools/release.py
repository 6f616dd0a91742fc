"""Builds what a release hands out into dist/: wheel, zipapp and their SHA-256 sums; the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from action.build_zipapp import zipapp_bytes

ROOT = Path(__file__).resolve().parents[1]
WHEEL_SOURCES = ("pyproject.toml", "LICENSE", "README.md", "files")
# 1980-01-01: the oldest time a zip can hold (https://reproducible-builds.org/docs/source-date-epoch/).
FIXED_EPOCH_S = 315532800
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


def version(root: Path) -> str:
    """The version in its one place. Raises SystemExit when the change log does not begin with it."""
    text = (root / "files/udpxfer/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    newest = re.search(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    if not found or not newest or found[1] != newest[1]:
        sys.exit(
            f"release: files/udpxfer/__init__.py says {found and found[1]}, the newest entry of CHANGELOG.md is "
            f"{newest and newest[1]}. Give both the same version."
        )
    return found[1]


def stage(root: Path, folder: Path) -> None:
    """Copy the sources with the same modes everywhere: those of a checkout depend on its user's umask."""
    for name in WHEEL_SOURCES:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=IGNORED)
        else:
            shutil.copy(source, folder / name)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def build_wheel(root: Path, dest: Path) -> None:
    """Build the wheel with the pinned setuptools, apart from the sources so that nothing is left among them."""
    with tempfile.TemporaryDirectory() as temporary:
        stage(root, Path(temporary))
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--no-build-isolation", "--wheel-dir", str(dest), temporary]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(FIXED_EPOCH_S)}
        subprocess.run(command, check=True, env=environment, umask=0o022)


def release(root: Path, dest: Path) -> list[Path]:
    """Fill ``dest`` anew; returns what is in it."""
    name = f"udpxfer-{version(root)}.pyz"
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    build_wheel(root, dest)
    (dest / name).write_bytes(zipapp_bytes(root / "files/udpxfer"))
    (dest / name).chmod(0o755)
    made = sorted(dest.iterdir())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
    (dest / "SHA256SUMS").write_text(sums, encoding="utf-8")
    return [*made, dest / "SHA256SUMS"]


if __name__ == "__main__":
    for made in release(ROOT, ROOT / "dist"):
        print(made.relative_to(ROOT))
