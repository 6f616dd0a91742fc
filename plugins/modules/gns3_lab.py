"""Ansible module: a lab as a project of a GNS3 server, version 3 or 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.gns3_api import Api, Gns3Error
from ansible.module_utils.gns3_project import CLOUD, ETHERNET_SWITCH, Lab, Wishes
from ansible.module_utils.host_files import put_file

DOCUMENTATION = r"""
module: gns3_lab
short_description: A lab as a project of a GNS3 server, version 3 or 2
description:
  - Makes project, switch, NAT, Docker hosts and links, writes addresses, starts; a second run changes nothing.
  - What is there under the right name is used as it is, so a user may draw the topology.
  - RV(lab) is what runs afterwards, RV(changes) says in words what was or would be done.
options:
  url: {description: Address of the server., type: str, required: true}
  user: {description: User; empty for a version 2 server without log-in., type: str, default: ''}
  password: {description: Password., type: str, default: ''}
  validate_certs: {description: Trust known certificates only., type: bool, default: true}
  timeout_s: {description: Seconds for one call., type: float, default: 60}
  project: {description: Name of the project., type: str, required: true}
  topology: {description: Switch, NAT, hosts and links., type: dict, required: true}
  state:
    description:
      - V(present) and V(absent) make and remove the lab, V(status) only looks.
      - V(impaired) gives all links the topology's impairments, V(linked) pulls or plugs the cable of RV(host), V(captured) starts or stops a
        capture of its link.
      - V(absent) deletes a project that was made here. In a user's own it stops the hosts.
    type: str
    choices: [present, absent, status, impaired, linked, captured]
    default: present
  host: {description: The host that V(linked) and V(captured) are about., type: str, default: ''}
  link: {description: What V(linked) makes of the cable., type: str, choices: [up, down], default: up}
  capture: {description: What V(captured) does., type: str, choices: [start, stop], default: start}
  capture_file: {description: Where to put the file of a capture that is stopped., type: path}
  compute: {description: The GNS3 compute that new nodes run on., type: str, default: local}
  image: {description: Docker image of new hosts., type: str, default: ''}
  start_command: {description: What new hosts run; empty for the image's own., type: str, default: ''}
  adapters: {description: Network adapters of new hosts; the first is used., type: int, default: 1}
  switch: {description: What a new switch is., type: str, choices: [ethernet_switch, cloud], default: ethernet_switch}
  switch_interface: {description: Bridge that the ports of a cloud are in., type: str, default: virbr0}
  nameserver: {description: Name server of Docker hosts; empty for none., type: str, default: ''}
  write_addresses: {description: Give Docker hosts the topology's addresses., type: bool, default: true}
"""

SERVER = {
    "url": {"type": "str", "required": True},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "validate_certs": {"type": "bool", "default": True},
    "timeout_s": {"type": "float", "default": 60},
}
WISHES = {
    "project": {"type": "str", "required": True},
    "compute": {"type": "str", "default": "local"},
    "image": {"type": "str", "default": ""},
    "start_command": {"type": "str", "default": ""},
    "adapters": {"type": "int", "default": 1},
    "switch": {"type": "str", "choices": [ETHERNET_SWITCH, CLOUD], "default": ETHERNET_SWITCH},
    "switch_interface": {"type": "str", "default": "virbr0"},
    "nameserver": {"type": "str", "default": ""},
    "write_addresses": {"type": "bool", "default": True},
}
ARGUMENTS: dict[str, Any] = {
    **SERVER,
    **WISHES,
    "topology": {"type": "dict", "required": True},
    "state": {
        "type": "str",
        "choices": ["present", "absent", "status", "impaired", "linked", "captured"],
        "default": "present",
    },
    "host": {"type": "str", "default": ""},
    "link": {"type": "str", "choices": ["up", "down"], "default": "up"},
    "capture": {"type": "str", "choices": ["start", "stop"], "default": "start"},
    "capture_file": {"type": "path"},
}


def bring_about(api: Api, options: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the state asks for on a server that is connected; returns the module's result. Raises Gns3Error."""
    lab = Lab(api, Wishes(**{name: options[name] for name in WISHES}), options["topology"], check)
    state, host = options["state"], options["host"]
    if state == "present":
        lab.present()
    elif state == "absent":
        lab.absent()
    elif state == "impaired":
        lab.impair()
    elif state == "linked":
        lab.plug([host], up=options["link"] == "up")
    elif state == "captured" and options["capture"] == "start":
        lab.start_capture(host)
    elif state == "captured":
        captured = lab.stop_capture(host)
        if captured is not None and not check:
            file = Path(options["capture_file"])
            file.parent.mkdir(parents=True, exist_ok=True)
            put_file(file, captured, 0o644)
    return {"changed": bool(lab.changes), "changes": lab.changes, "lab": lab.status()}


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[
            ("state", "linked", ["host"]),
            ("state", "captured", ["host"]),
            ("capture", "stop", ["capture_file"]),
        ],
        supports_check_mode=True,
    )
    api = Api(**{name: module.params[name] for name in SERVER})
    try:
        api.connect()
        result = bring_about(api, module.params, module.check_mode)
    except Gns3Error as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
