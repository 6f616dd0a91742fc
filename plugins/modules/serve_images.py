"""Ansible module: serve a folder over HTTP from the controller for as long as a lab is up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import put_file
from ansible.module_utils.processes import lives, note_of

DOCUMENTATION = r"""
module: serve_images
short_description: Serve a folder over HTTP from the controller for as long as a lab is up
description:
  - Starts Python's own web server in the background and notes it beside the folder, in C(<folder>.json); V(stopped) ends the one noted there.
options:
  address: {description: Where to listen, as ADDRESS:PORT., type: str, required: true}
  folder: {description: What to serve., type: path, required: true}
  state: {description: Whether it shall run., type: str, choices: [started, stopped], default: started}
"""

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.05


def running(note: Path) -> dict[str, Any] | None:
    """The server that the note names, None when it does not run."""
    try:
        server: dict[str, Any] = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return server if lives(server) else None


def answers(host: str, port: int) -> bool:
    """True when somebody listens there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def start(address: str, folder: Path, note: Path) -> None:
    """Start the server and wait until it listens. Raises OSError with what it said."""
    host, _, port = address.rpartition(":")
    if answers(host, int(port)):
        raise OSError("another program listens there")
    log = note.with_suffix(".log")
    command = [sys.executable, "-m", "http.server", "--bind", host, "--directory", str(folder), port]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not answers(host, int(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = log.read_text(errors="replace").strip().splitlines()
            raise OSError(said[-1] if said else f"it did not listen within {START_TIMEOUT_S:g} s")
        time.sleep(POLL_S)
    process.returncode = 0  # it is meant to outlive this module, so nobody waits for it
    put_file(note, json.dumps({**note_of(process.pid), "address": address}).encode(), 0o644)


def stop(server: dict[str, Any], note: Path) -> None:
    """End the server, by force when it does not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server["pid"], number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while lives(server) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    note.unlink(missing_ok=True)


def main() -> None:
    """Entry point for Ansible."""
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "folder": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        },
        supports_check_mode=True,
    )
    address, folder = module.params["address"], Path(module.params["folder"])
    if not address.rpartition(":")[2].isdigit():
        module.fail_json(msg=f"{address!r} is no address to listen at. Write it like 192.168.122.1:8080.")
    note = folder.with_suffix(".json")
    server = running(note)
    wanted = module.params["state"] == "started"
    is_right = server is not None and server["address"] == address
    if wanted == is_right and (wanted or server is None):
        module.exit_json(changed=False)
    if not module.check_mode:
        if server is not None:
            stop(server, note)
        if wanted:
            try:
                start(address, folder, note)
            except OSError as error:
                module.fail_json(
                    msg=f"The sample images cannot be served at {address}: {error}. Choose an address of this machine that the hosts "
                    "reach and a free port (lab_gns3_web), or your own image_urls."
                )
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
