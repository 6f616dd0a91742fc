"""Playbooks and inventories, as far as Ansible can judge them without a host."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from udpxfer.modes import MODES

from tests.project import ROOT, run

PLAYBOOKS = [ROOT / "run_all.yml", *sorted((ROOT / "playbooks").glob("*.yml"))]
INVENTORIES = sorted((ROOT / "inventory").glob("*.yml"))


def tags_of(entry: dict[str, object]) -> list[str]:
    tags = entry.get("tags", [])
    return [tags] if isinstance(tags, str) else list(tags)  # type: ignore[call-overload]


def test_every_playbook_parses() -> None:
    result = run("ansible-playbook", "--syntax-check", *map(str, PLAYBOOKS))
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_inventory_has_servers_clients_and_every_mode(inventory: Path) -> None:
    result = run("ansible-inventory", "-i", str(inventory), "--list")
    assert result.returncode == 0, result.stdout
    groups = json.loads(result.stdout)
    assert groups["servers"]["hosts"]
    assert groups["clients"]["hosts"]
    assert {tuple(host["run_modes"]) for host in groups["_meta"]["hostvars"].values()} == {tuple(MODES)}


def test_main_job_only_imports_playbooks() -> None:
    entries = yaml.safe_load((ROOT / "run_all.yml").read_text(encoding="utf-8"))
    assert {key for entry in entries for key in entry} <= {"name", "ansible.builtin.import_playbook", "tags", "vars"}


def test_main_job_has_a_tag_for_each_mode_in_their_order() -> None:
    entries = yaml.safe_load((ROOT / "run_all.yml").read_text(encoding="utf-8"))
    of_modes = [tag for entry in entries for tag in tags_of(entry) if re.match(r"(single|multi)_", tag)]
    assert tuple(dict.fromkeys(of_modes)) == tuple(MODES)
