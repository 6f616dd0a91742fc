"""A lab seen from the controller: bring it up, take it down, look at it, reach its hosts.

Everything of a lab is in its folder, whose name is the lab's id. Whether it runs is decided by one process, the holder,
noted in state.json with its start time and the machine's boot id: after a crash or a reboot the note names nobody.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from . import config, control, image
from .holder import GO
from .image import Say
from .system import POLL_S, SEARCH_PATH, LabError, boot_id, locked, require, run, started, write_atomically

LOCK_TIMEOUT_S = 120.0
HOLDER_TIMEOUT_S = 10.0  # to become what it is, and to be gone once killed; on an idle machine both take milliseconds
SSH_EXIT_TIMEOUT_S = 10.0
LOG_TAIL_CHARS = 2000
TOOLS = ("ip", "mount", "pivot_root", "ssh", "ssh-keygen", "unshare")
# A user other than root is root in a namespace of its own, with the subordinate ids of /etc/subuid and /etc/subgid.
AS_ROOT = ("unshare", "--user", "--map-root-user", "--map-auto")
OTHER_WAYS = (
    "Run it with sudo, or use another backend: GNS3 (-i inventory/gns3.yml) or own hosts (inventory/real.example.yml)."
)


class LabNotReadyError(LabError):
    """The lab runs but does not answer (yet)."""


class SilentHostError(LabError):
    """A host does not answer; the others of the lab may."""

    def __init__(self, text: str, host: str) -> None:
        super().__init__(text)
        self.host = host


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
        return int(note["pid"]) if _lives(note) else None


def up(
    lab: Lab, description: config.Description, say: Say, *, timeout_s: float, impair_by: str, check: bool
) -> dict[str, Any]:
    """Bring the lab up as described and wait until every host answers with an SSH banner; what is so already stays."""
    if not config.ID.fullmatch(lab.id):
        raise LabError(f"lab id '{lab.id}': use up to 32 of A-Z, a-z, 0-9, '-' and '_'")
    if check:
        return {"changed": lab.holder() is None or _converge(lab, description, time.monotonic() + timeout_s, check)}
    with lab.lock():
        if (running := lab.holder()) is not None and lab.description() != description:
            raise LabError(f"lab '{lab.id}' is up with other hosts or addresses; take it down first: make down")
        if running is not None and not lab.image_is_there():
            say("the lab's Alpine image was deleted under it: starting anew")
            running = None
        changed = running is None
        if running is None:
            _start(lab, description, say, impair_by)
        try:
            changed |= _converge(lab, description, time.monotonic() + timeout_s)
            found = _wait_for_ssh(lab, timeout_s)
        except BaseException:
            if running is None:
                _stop(lab)
            raise
    return {**found, "changed": changed}


def down(lab: Lab, check: bool = False) -> dict[str, Any]:
    """End the lab and all that belongs to it; keys, logs and what NAT1 serves stay in its folder."""
    if not lab.folder.is_dir():
        return {"changed": False}
    if check:
        return {"changed": lab.holder() is not None}
    with lab.lock():
        return {"changed": _stop(lab)}


def status(lab: Lab) -> dict[str, Any]:
    """What runs, which hosts answer, what is done to links, as plain data."""
    head = {"id": lab.id, "folder": str(lab.folder)}
    if lab.holder() is not None:
        return {**head, "up": True, **ask(lab, "status")}
    description = lab.description()
    nodes = [
        {"name": node.name, "address": node.address, "ssh": False}
        for node in (description.nodes if description else ())
    ]
    return {**head, "up": False, "nodes": nodes}


def ask(lab: Lab, verb: str, **arguments: Any) -> dict[str, Any]:
    """Ask the running lab. Raises LabError, also when it is down."""
    if lab.holder() is None:
        raise LabError(f"lab '{lab.id}' is down; bring it up with: ansible-playbook playbooks/lab_up.yml")
    try:
        return control.ask(lab.folder, verb, **arguments)
    except OSError as error:
        raise LabNotReadyError(
            f"lab '{lab.id}' does not answer: {error}; its log: {lab.folder}/logs/holder.log"
        ) from error


def impair(lab: Lab, description: config.Description, check: bool = False) -> dict[str, Any]:
    """Impair the links as the description says."""
    return ask(lab, "impair", links=description.links, profile=description.profile, check=check)


def capture(lab: Lab, host: str, file: Path | None, check: bool) -> dict[str, Any]:
    """Record what passes a host's port into a pcap file; without one, end that."""
    if file is not None:
        file = file.resolve()
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
    return ask(lab, "capture", host=host, file=file and str(file), check=check)


def connect(lab: Lab, host: str, port: int) -> None:
    """ssh's ProxyCommand with ProxyUseFdpass: connect from the switch, hand the socket to ssh on standard output."""
    if lab.holder() is None:
        raise LabError(f"lab '{lab.id}' is down; bring it up with: ansible-playbook playbooks/lab_up.yml")
    descriptor = control.connected(lab.folder, host, port)
    with socket.socket(fileno=1) as ssh:
        socket.send_fds(ssh, [b"\0"], [descriptor])


def execute(lab: Lab, host: str, command: list[str]) -> NoReturn:
    """Become ssh on a host; its exit status is the command's."""
    ssh = ["ssh", "-F", str(lab.folder / "ssh_config"), host, *command]
    os.execvpe(ssh[0], ssh, {**os.environ, "PATH": SEARCH_PATH})  # noqa: S606 no shell is meant


def _lives(note: dict[str, Any]) -> bool:
    """True while the process of a note runs."""
    return note["boot_id"] == boot_id() and note["started"] is not None and started(note["pid"]) == note["started"]


def _start(lab: Lab, description: config.Description, say: Say, impair_by: str) -> None:
    require(*TOOLS)
    in_namespace = _as_root()
    _stop(lab)  # what a killed run left behind
    root = _image(in_namespace, lab, say)
    for name in ("host_keys", "logs", "mnt", "www"):
        (lab.folder / name).mkdir(parents=True, exist_ok=True)
    _write_files(lab, description, root)
    say(f"starting {len(description.nodes)} hosts")
    for old in (lab.folder / "logs").iterdir():
        old.unlink()
    command = [*(in_namespace or ["unshare"]), "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, str(config.PROGRAM), "hold", str(lab.folder), str(root), impair_by]
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


def _as_root() -> tuple[str, ...]:
    """What makes a command root in a namespace; nothing for who is root already. Raises LabError when that is not possible."""
    if os.geteuid() == 0:
        return ()
    try:
        require("newuidmap")
        run(*AS_ROOT, "--net", "--mount", "--pid", "--fork", "--mount-proc", "true")
    except LabError as error:
        user = getpass.getuser()
        raise LabError(
            f"without root the embedded lab needs user namespaces and subordinate ids. {error}\n"
            f"As root: apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}; "
            f"on Ubuntu also: sysctl kernel.apparmor_restrict_unprivileged_userns=0\n{OTHER_WAYS}"
        ) from error
    return AS_ROOT


def _image(in_namespace: tuple[str, ...], lab: Lab, say: Say) -> Path:
    """Root folder of the base image, built by whom the hosts will take for root."""
    if not in_namespace:
        return image.ensure(say)
    command = [*in_namespace, sys.executable, str(config.PROGRAM), "image", str(lab.folder)]
    built = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "PATH": SEARCH_PATH}
    )
    if built.returncode != 0:
        raise LabError("the Alpine image could not be built; the reason stands above")
    root = Path(json.loads(built.stdout)["image"])
    if root.stat().st_uid != os.geteuid():
        raise LabError(
            f"{root} belongs to another user (made with sudo?); delete it as that user, or set XDG_CACHE_HOME"
        )
    return root


def _only_child(outer: subprocess.Popen[str], lab: Lab) -> int:
    """Pid of the holder. Before it becomes that it is still `unshare`, which may also have helpers for a moment."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + HOLDER_TIMEOUT_S
    while outer.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                if Path(f"/proc/{child}/cmdline").read_text().startswith(f"{sys.executable}\0"):
                    return int(child)
        time.sleep(POLL_S / 10)
    raise LabError(f"this machine allows no namespaces:\n{_log(lab, 'holder.log')}\n{OTHER_WAYS}")


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
        if stat.S_ISSOCK(path.lstat().st_mode) and path.name != control.SOCKET:
            # Relative, as a socket's path may have 108 bytes only.
            leave = ["ssh", "-F", "/dev/null", "-O", "exit", "-o", f"ControlPath={path.name}", "lab"]
            with contextlib.suppress(subprocess.TimeoutExpired):  # a master that hangs ends when its host is gone
                subprocess.run(
                    leave,
                    cwd=lab.folder,
                    env={"PATH": SEARCH_PATH},
                    capture_output=True,
                    check=False,
                    timeout=SSH_EXIT_TIMEOUT_S,
                )
            path.unlink(missing_ok=True)
            changed = True
    if (pid := lab.holder()) is not None:
        changed = True
        os.kill(pid, signal.SIGKILL)  # the holder has nothing to tidy: the kernel ends and frees all that it holds
        deadline = time.monotonic() + HOLDER_TIMEOUT_S
        while lab.holder() is not None:
            if time.monotonic() > deadline:
                raise LabError(
                    f"lab '{lab.id}': process {pid} does not end although it was killed; the kernel waits for a device or a disk, "
                    "which its log may name: dmesg"
                )
            time.sleep(POLL_S / 5)
    for left in (lab.state_file, lab.folder / control.SOCKET):
        left.unlink(missing_ok=True)
    return changed


def _converge(lab: Lab, description: config.Description, deadline: float, check: bool = False) -> bool:
    """Once the holder answers: every cable plugged, every link as described; true when something was not."""
    while True:
        try:
            plugged = [ask(lab, "link", host=node.name, up=True, check=check)["changed"] for node in description.nodes]
            return any([*plugged, impair(lab, description, check)["changed"]])
        except LabNotReadyError:
            if lab.holder() is None:
                raise LabError(f"lab '{lab.id}' ended while starting:\n{_log(lab, 'holder.log')}") from None
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def _wait_for_ssh(lab: Lab, timeout_s: float) -> dict[str, Any]:
    """The lab's status once each host has answered. Not all at the same moment: links may lose, and machines be busy."""
    answered: set[str] = set()
    deadline = time.monotonic() + timeout_s
    while True:
        found = status(lab)
        if not found["up"]:
            raise LabError(f"lab '{lab.id}' ended while starting:\n{_log(lab, 'holder.log')}")
        answered |= {node["name"] for node in found["nodes"] if node["ssh"]}
        for node in found["nodes"]:
            node["ssh"] = node["name"] in answered
        silent = next((node for node in found["nodes"] if not node["ssh"]), None)
        if silent is None:
            return found
        if time.monotonic() > deadline:
            console = _log(lab, f"{silent['name']}.console.log")
            raise SilentHostError(
                f"{silent['name']} ({silent['address']}): no SSH within {timeout_s:.0f} s; its console:\n{console}",
                silent["name"],
            )
        time.sleep(POLL_S)


def _log(lab: Lab, name: str) -> str:
    """The end of a log."""
    try:
        return (lab.folder / "logs" / name).read_text(errors="replace")[-LOG_TAIL_CHARS:]
    except FileNotFoundError:
        return "(no log)"
