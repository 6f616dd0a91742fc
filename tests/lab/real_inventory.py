"""Inventories for own machines, with the lab's hosts in the place of the machines."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.lab.playbook import Lab
from tests.project import ROOT

# Address in the example, host of the lab, its address there.
HOSTS = (
    ("192.0.2.11", "alpine-1", "192.168.122.11"),
    ("192.0.2.12", "alpine-3", "192.168.122.13"),
    ("192.0.2.21", "alpine-2", "192.168.122.12"),
)


def real_inventory(lab: Lab) -> Path:
    """inventory/real.yml as docs/real-hosts.md tells to make it: the example with own addresses and root."""
    folder = lab.folder / "real"
    shutil.copytree(ROOT / "inventory", folder, dirs_exist_ok=True)
    text = (folder / "real.example.yml").read_text(encoding="utf-8")
    for example, _, address in HOSTS:
        text = text.replace(example, address)
    text = text.replace("192.0.2.1/", "192.168.122.1/")
    ssh = f"-F {lab.state}/ssh_config -o ControlPath={lab.state}/%h"
    text = text.replace("ansible_become: true", f"ansible_ssh_common_args: {ssh}")
    text = text.replace("ansible_user: alpine", "ansible_user: root")
    (folder / "real.yml").write_text(text, encoding="utf-8")
    return folder / "real.yml"
