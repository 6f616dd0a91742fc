"""Ansible inventory: the hosts of a lab, from the one description in group_vars/all/lab.yml."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.release import __version__ as ansible_version
from ansible.utils.vars import load_extra_vars

try:
    from ansible.template import trust_as_template
except ImportError:
    # Every inventory plugin is loaded before the role preflight can look at the version.
    raise AnsibleParserError(
        f"This is ansible-core {ansible_version}; at least 2.19 is needed. `make run` installs the right one into .venv."
    ) from None

# Ansible puts module_utils in the way of modules only; a plugin on the controller imports its neighbour itself.
sys.path.append(str(Path(__file__).resolve().parents[1]))
from module_utils import topology

DOCUMENTATION = r"""
name: lab_topology
short_description: The hosts of a lab, from the one description in group_vars/all/lab.yml
description:
  - Reads C(group_vars/all/lab.yml) beside the inventory file; values of the command line (C(-e lab_servers=50)) take the place of the file's.
  - Every host gets a literal C(ansible_host) and is in the group C(servers) or C(clients).
  - All hosts get C(lab_topology) (the whole topology as plain data), C(lab_backend), C(lab_id), C(lab_controller_pid),
    the process that reads the inventory, by which two runs on one lab are told apart, and C(lab_controller_options),
    what its command line gave by C(-e), for playbooks that start others.
options:
  plugin: {description: Names this plugin., type: str, required: true, choices: [lab_topology]}
  backend: {description: Name of the lab backend; its role is C(lab_<backend>)., type: str, required: true}
  vars:
    description: Variables of every host, such as how to connect. The word C(LAB_ID) in a text stands for the lab's id, C(HOST_NAME) for the host's name.
    type: dict
    default: {}
"""


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible ships no types
    """Tells Ansible the hosts."""

    NAME = "lab_topology"

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory. Raises AnsibleParserError with the description's error."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        description = Path(path).parent / "group_vars" / "all" / "lab.yml"
        try:
            found = topology.load(description, load_extra_vars(loader))
        except topology.TopologyError as error:
            raise AnsibleParserError(f"The lab's description is wrong. {error}") from None
        variables = {
            name: value.replace("LAB_ID", found["id"]) if isinstance(value, str) else value
            for name, value in self.get_option("vars").items()
        }
        variables.update(lab_backend=self.get_option("backend"), lab_id=found["id"], lab_topology=found)
        variables["lab_controller_pid"] = os.getpid()
        for name, value in variables.items():
            inventory.set_variable("all", name, _trusted(value))
        # Plain texts, not trusted: a template in them is for the playbook that they are handed to.
        options = [f"{option}" for option in context.CLIARGS.get("extra_vars", ())]
        inventory.set_variable("all", "lab_controller_options", options)
        for role in ("server", "client"):
            inventory.add_group(f"{role}s")
        of_each_host = {
            name: value for name, value in variables.items() if isinstance(value, str) and "HOST_NAME" in value
        }
        for node in found["nodes"]:
            inventory.add_host(node["name"], group=f"{node['role']}s")
            for name, value in of_each_host.items():
                inventory.set_variable(node["name"], name, _trusted(value.replace("HOST_NAME", node["name"])))
            inventory.set_variable(node["name"], "ansible_host", _trusted(node["address"]))


def _trusted(value: Any) -> Any:
    """The value as Ansible takes it from its own files: texts of `vars` are the user's own and may hold templates, also after words were replaced.

    Otherwise `ansible-inventory` wraps each text as unsafe.
    """
    if isinstance(value, dict):
        return {key: _trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value
