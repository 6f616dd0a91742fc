"""Make's targets: all there, and all listed by help."""

from __future__ import annotations

import re

from tests.project import ROOT, run

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
INTERNAL = {"venv", "system"}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, flags=re.MULTILINE))


def test_help_is_the_default_and_lists_every_target() -> None:
    result = run("make")
    listed = {line.split()[0] for line in result.stdout.splitlines()}
    assert result.returncode == 0
    assert listed == targets() - INTERNAL


def test_no_target_is_taken_for_a_file() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets()
