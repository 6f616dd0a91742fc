"""requirements.lock: holds what pyproject.toml asks for, with hashes, and nothing of the machine it was made on."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: wishes for name, wishes in PROJECT["optional-dependencies"].items() if name != "fuzz"}  # see there
WANTED = [*PROJECT["dependencies"], *(wish for wishes in EXTRAS.values() for wish in wishes)]


def locked() -> dict[str, list[str]]:
    """Versions in the lock by package name; two where Python versions differ."""
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK, flags=re.MULTILINE):
        versions[canonicalize_name(name)].append(version)
    return versions


@pytest.mark.parametrize("wish", WANTED)
def test_lock_fulfils(wish: str) -> None:
    requirement = Requirement(wish)
    versions = locked()[canonicalize_name(requirement.name)]
    assert any(requirement.specifier.contains(version) for version in versions), "run `make lock`"


def test_every_package_has_a_hash() -> None:
    packages = re.findall(r"^[a-z].*(?:\n    .*)*", LOCK, flags=re.MULTILINE)
    assert packages
    assert [package for package in packages if "--hash=sha256:" not in package] == []


def test_lock_names_no_place() -> None:
    assert re.findall(r"(?:file|https?):|--(?:extra-)?index|--find-links|^-", LOCK, flags=re.MULTILINE) == []
