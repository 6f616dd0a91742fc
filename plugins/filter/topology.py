"""Ansible filters: drawings of the lab's topology, and the lab backends there are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils import topology


def lab_backends(roles: str) -> list[str]:
    """The backends by the roles lab_<backend> in this folder."""
    return sorted(path.name.removeprefix("lab_") for path in Path(roles).glob("lab_*"))


class FilterModule:
    """Tells Ansible the names."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Filter names and their functions."""
        return {
            "lab_backends": lab_backends,
            "topology_mermaid": topology.to_mermaid,
            "topology_svg": topology.to_svg,
        }
