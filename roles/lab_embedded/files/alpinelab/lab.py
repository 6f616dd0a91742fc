"""A lab seen from the controller: bring it up, take it down, look at it, reach its hosts.

Everything of a lab is in its folder, whose name is the lab's id. Whether it runs is decided by one process, the holder,
noted in state.json with its start time and the machine's boot id: after a crash or a reboot the note names nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import config, image, samples
from .holder import GO
from .image import Say
from .system import POLL_S, SEARCH_PATH, LabError, boot_id, locked, require, run, started, write_atomically

CLONE_NEWNET = 0x40000000
LOCK_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0
LOG_TAIL_CHARS = 2000
TOOLS = ("ip", "mount", "pivot_root", "ssh", "ssh-keygen", "unshare")


@dataclass(frozen=True)
class Lab:
    """One lab, by its folder."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def state_file(self) -> Path:
        """Notes the holder."""
        return self.folder / "state.json"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """One command at a time changes a lab."""
        return locked(self.folder / "lock", LOCK_TIMEOUT_S, f"another command works on lab '{self.id}'")

    def description(self) -> config.Description | None:
        """What the lab was last brought up as."""
        try:
            return config.parse((self.folder / "lab.json").read_text())
        except FileNotFoundError:
            return None

    def note(self) -> dict[str, Any] | None:
        """What state.json says."""
        try:
            note: dict[str, Any] = json.loads(self.state_file.read_text())
        except (FileNotFoundError, ValueError):  # a crash of the machine may leave it empty
            return None
        return note

    def image_is_there(self) -> bool:
        """False when somebody emptied the cache while the lab ran: its hosts have lost their files."""
        note = self.note()
        return note is not None and Path(note["image"]).is_dir()

    def holder(self) -> int | None:
        """Pid of the running holder; None when the lab is down, whatever was left behind."""
        if (note := self.note()) is None:
            return None
        alive = note["boot_id"] == boot_id() and started(note["pid"]) == note["started"]
        return int(note["pid"]) if alive else None


def up(lab: Lab, description: config.Description, timeout_s: float, say: Say, check: bool = False) -> dict[str, Any]:
    """Bring the lab up and wait until every host answers with an SSH banner; nothing to do when it is up already."""
    if not config.ID.fullmatch(lab.id):
        raise LabError(f"lab id '{lab.id}': use up to 32 of A-Z, a-z, 0-9, '-' and '_'")
    if check:
        return {"changed": lab.holder() is None}
    if os.geteuid() != 0:
        raise LabError("the embedded lab needs root: run it with sudo, or use own hosts (inventory/real.example.yml)")
    with lab.lock():
        if (running := lab.holder()) is not None and lab.description() != description:
            raise LabError(f"lab '{lab.id}' is up with other hosts or addresses; take it down first: make down")
        if running is not None and not lab.image_is_there():
            say("the lab's Alpine image was deleted under it: starting anew")
            running = None
        if running is None:
            _start(lab, description, say)
        try:
            _wait_for_ssh(lab, description, timeout_s)
        except BaseException:
            if running is None:
                _stop(lab)
            raise
    return {"changed": running is None, **status(lab)}


def down(lab: Lab, check: bool = False) -> dict[str, Any]:
    """End the lab and all that belongs to it; keys, logs and sample images stay in its folder."""
    if not lab.folder.is_dir():
        return {"changed": False}
    if check:
        return {"changed": lab.holder() is not None}
    with lab.lock():
        return {"changed": _stop(lab)}


def status(lab: Lab) -> dict[str, Any]:
    """What runs and which hosts answer, as plain data."""
    description = lab.description()
    running = lab.holder() is not None
    nodes = [
        {"name": node.name, "address": node.address, "ssh": running and _answers(lab, node)}
        for node in (description.nodes if description else ())
    ]
    return {"id": lab.id, "folder": str(lab.folder), "up": running, "nodes": nodes}


def connect(lab: Lab, host: str, port: int) -> None:
    """ssh's ProxyCommand with ProxyUseFdpass: connect from the switch, hand the socket to ssh on standard output."""
    with _on_switch(lab):
        connection = socket.create_connection((host, port), 10)
    connection.settimeout(None)
    with socket.socket(fileno=1) as ssh:
        socket.send_fds(ssh, [b"\0"], [connection.fileno()])


def _start(lab: Lab, description: config.Description, say: Say) -> None:
    require(*TOOLS)
    _stop(lab)  # what a killed run left behind
    root = image.ensure(say)
    for name in ("host_keys", "logs", "mnt", "www"):
        (lab.folder / name).mkdir(parents=True, exist_ok=True)
    samples.publish(lab.folder / "www", say)
    _write_files(lab, description, root)
    say(f"starting {len(description.nodes)} hosts")
    for old in (lab.folder / "logs").iterdir():
        old.unlink()
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, str(config.PROGRAM), "hold", str(lab.folder), str(root)]
    with (lab.folder / "logs/holder.log").open("w") as log:
        outer = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            cwd="/",
            env={**os.environ, "PATH": SEARCH_PATH},
            start_new_session=True,
        )
    assert outer.stdin is not None
    with outer.stdin as pipe:
        pid = _only_child(outer, lab)
        note = {"boot_id": boot_id(), "pid": pid, "started": started(pid), "image": str(root)}
        write_atomically(lab.state_file, json.dumps(note) + "\n")
        pipe.write(GO)  # until it reads this, the holder ends by itself when we do


def _only_child(outer: subprocess.Popen[str], lab: Lab) -> int:
    """Pid of the holder: `unshare` forks it once."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while outer.poll() is None and time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(POLL_S / 10)
    raise LabError(f"this machine allows no namespaces (needs root without restrictions):\n{_log(lab, 'holder.log')}")


def _write_files(lab: Lab, description: config.Description, root: Path) -> None:
    """Keys (kept from run to run) and the configuration of ssh."""
    key = lab.folder / "id_ed25519"
    if not key.with_suffix(".pub").exists():
        key.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"udpxfer-lab {lab.id}", "-f", key)
    dropbearkey = root / "usr/bin/dropbearkey"
    public = {}
    for node in description.nodes:
        host_key = lab.folder / "host_keys" / node.name
        if not host_key.exists():
            run(dropbearkey, "-t", "ed25519", "-f", host_key)
        said = run(dropbearkey, "-y", "-f", host_key)
        public[node.name] = next(line for line in said.splitlines() if line.startswith("ssh-ed25519 "))
    write_atomically(lab.folder / "known_hosts", config.known_hosts(description, public))
    write_atomically(lab.folder / "ssh_config", config.ssh_config(description, lab.folder))
    write_atomically(lab.folder / "lab.json", description.to_json())


def _stop(lab: Lab) -> bool:
    """End ssh's master connections and the holder; true when something was running."""
    changed = False
    for path in lab.folder.iterdir():
        if stat.S_ISSOCK(path.lstat().st_mode):
            # Relative, as a socket's path may have 108 bytes only.
            leave = ["ssh", "-F", "/dev/null", "-O", "exit", "-o", f"ControlPath={path.name}", "lab"]
            subprocess.run(
                leave, cwd=lab.folder, env={"PATH": SEARCH_PATH}, capture_output=True, check=False, timeout=10
            )
            path.unlink(missing_ok=True)
            changed = True
    if (pid := lab.holder()) is not None:
        changed = True
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while lab.holder() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(POLL_S / 5)
    lab.state_file.unlink(missing_ok=True)
    return changed


def _wait_for_ssh(lab: Lab, description: config.Description, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    for node in description.nodes:
        while not _answers(lab, node):
            if lab.holder() is None:
                raise LabError(f"lab '{lab.id}' ended while starting:\n{_log(lab, 'holder.log')}")
            if time.monotonic() > deadline:
                console = _log(lab, f"{node.name}.console.log")
                raise LabError(
                    f"{node.name} ({node.address}): no SSH within {timeout_s:.0f} s; its console:\n{console}"
                )
            time.sleep(POLL_S)


def _answers(lab: Lab, node: config.Node) -> bool:
    """True when the host sends an SSH banner."""
    try:
        with _on_switch(lab), socket.create_connection((node.address, 22), 0.3) as connection:
            return connection.recv(4) == b"SSH-"
    except (OSError, LabError):
        return False


@contextlib.contextmanager
def _on_switch(lab: Lab) -> Iterator[None]:
    """Sockets opened inside belong to the switch's network namespace."""
    if (pid := lab.holder()) is None:
        raise LabError(f"lab '{lab.id}' is down; bring it up with: ansible-playbook playbooks/lab_up.yml")
    with Path("/proc/self/ns/net").open("rb") as own, Path(f"/proc/{pid}/ns/net").open("rb") as switch:
        _enter(switch.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(namespace: int) -> None:
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise LabError(f"cannot enter the lab's network: {os.strerror(code)}; run as the user who brought the lab up")


def _log(lab: Lab, name: str) -> str:
    """The end of a log."""
    try:
        return (lab.folder / "logs" / name).read_text(errors="replace")[-LOG_TAIL_CHARS:]
    except FileNotFoundError:
        return "(no log)"
