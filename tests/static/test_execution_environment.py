"""The image for controllers that run playbooks in containers: its description is one that ansible-builder understands."""

from __future__ import annotations

from pathlib import Path

import yaml
from packaging.requirements import Requirement

from tests.project import ROOT, run

DESCRIPTION = yaml.safe_load((ROOT / "execution-environment.yml").read_text(encoding="utf-8"))


def test_builder_makes_a_build_context(tmp_path: Path) -> None:
    description = str(ROOT / "execution-environment.yml")
    result = run(
        "ansible-builder",
        "create",
        "--file",
        description,
        "--context",
        str(tmp_path),
        "--output-filename",
        "Containerfile",
    )
    assert result.returncode == 0, result.stdout
    containerfile = (tmp_path / "Containerfile").read_text(encoding="utf-8")
    assert DESCRIPTION["images"]["base_image"]["name"] in containerfile


def test_its_ansible_is_one_that_is_supported() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "preflight" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    core = Requirement(DESCRIPTION["dependencies"]["ansible_core"]["package_pip"])
    assert core.specifier.contains(f"{defaults['preflight_ansible_oldest']}.0")
