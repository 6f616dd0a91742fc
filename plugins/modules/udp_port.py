"""Ansible module: wait until a UDP port is bound."""

from __future__ import annotations

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import tail
from ansible.module_utils.udp_sockets import sockets_at

DOCUMENTATION = r"""
module: udp_port
short_description: Wait until a UDP port is bound
description:
  - C(ansible.builtin.wait_for) cannot see UDP. This polls the kernel's list of sockets of the host.
options:
  port: {description: The port., type: int, required: true}
  timeout_s: {description: Seconds after which it fails., type: float, required: true}
  log_files: {description: Files whose last lines go into the error text., type: list, elements: path, default: []}
  host: {description: Name of the host for the error text., type: str, required: true}
"""

POLL_S = 0.05
TAIL_LINES = 15


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "required": True},
            "timeout_s": {"type": "float", "required": True},
            "log_files": {"type": "list", "elements": "path", "default": []},
            "host": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    port, timeout_s = module.params["port"], module.params["timeout_s"]
    if module.check_mode:
        module.exit_json(skipped=True, skip_reason="check mode started no service, so no port is waited for")
    deadline = time.monotonic() + timeout_s
    while not sockets_at(port):
        if time.monotonic() > deadline:
            logs = "\n".join(tail(Path(path), TAIL_LINES) for path in module.params["log_files"])
            module.fail_json(
                msg=f"{module.params['host']}: nothing has bound UDP port {port} within {timeout_s:g} s, so the "
                f"receiver does not run. Its logs say why; after mending, run again with --tags receivers.\n{logs}"
            )
        time.sleep(POLL_S)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
