"""Draws the default lab for the README, as `make graph` draws any lab: `make docs`. A test compares."""

from __future__ import annotations

from pathlib import Path

from module_utils import topology

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTION = ROOT / "inventory/group_vars/all/lab.yml"
PICTURE = ROOT / "docs/topology.svg"


def drawing() -> str:
    """The lab as inventory/group_vars/all/lab.yml describes it."""
    return topology.to_svg(topology.load(DESCRIPTION))


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
