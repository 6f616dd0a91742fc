"""The lab from inside: pid 1 of the lab's namespaces, whose network namespace is the switch.

It plays nat1 (address and web server), starts the hosts, starts one again when it reboots, and does what requests on its
control socket ask for (control.py). When this process ends, in whatever way, the kernel ends all others and drops every
mount, interface and namespace.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from . import config, control
from .impair import Ports, ip
from .system import POLL_S, SEARCH_PATH, LabError, run

HOST_INIT = Path(__file__).with_name("host-init.sh")
GO = "go\n"
FOLDER_CHECK_S = 2.0
# How `unshare` reports reboot(RESTART) in a pid namespace: its init seems killed by SIGHUP.
REBOOTED = (-signal.SIGHUP, 128 + signal.SIGHUP)


class WebHandler(http.server.SimpleHTTPRequestHandler):
    """nat1's web server."""

    protocol_version = "HTTP/1.1"


def hold(folder: Path, image: Path, impair_by: str) -> None:
    """Run the lab in `folder` until SIGTERM or SIGKILL; the caller has put this process into new namespaces."""
    if sys.stdin.readline() != GO:
        return  # `up` died before it noted this process: nobody would know of it
    signal.signal(signal.SIGTERM, _stop)
    lab = config.parse((folder / "lab.json").read_text())
    mounts = _mount(folder, image)
    no_ipv6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if no_ipv6.exists():  # the switch itself has no use for it, and each port would chatter
        no_ipv6.write_text("1")
    ip("link set lo up", "link add br0 type bridge", f"addr add {lab.gateway} dev br0", "link set br0 up")
    handler = functools.partial(WebHandler, directory=str(folder / "www"))
    web = http.server.ThreadingHTTPServer((lab.nat1, 80), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    for node in lab.nodes:
        _make_root(lab, node, folder, mounts)
    ports = Ports([node.name for node in lab.nodes], impair_by)
    switch = control.Switch(lab, ports)
    threading.Thread(target=control.serve, args=(folder, switch), daemon=True).start()
    with switch.lock:
        hosts = {node: _start(node, folder, mounts, ports) for node in lab.nodes}
    _watch(folder, mounts, switch, hosts)


def _watch(folder: Path, mounts: Path, switch: control.Switch, hosts: dict[config.Node, subprocess.Popen[str]]) -> None:
    """Start again what reboots, until the lab's folder is deleted: nobody could find the lab any more."""
    identity, look_at = _identity(folder), time.monotonic()
    while True:
        for node, host in list(hosts.items()):
            if (code := host.poll()) is not None:
                print(f"{node.name}: ended with {code}", file=sys.stderr, flush=True)
                del hosts[node]
                if code in REBOOTED:
                    with switch.lock:
                        hosts[node] = _start(node, folder, mounts, switch.ports)
        with switch.lock:
            switch.ports.revive()
        if time.monotonic() > look_at:
            look_at = time.monotonic() + FOLDER_CHECK_S
            if _identity(folder) != identity:
                return
        time.sleep(POLL_S)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _mount(folder: Path, image: Path) -> Path:
    """Memory for the hosts' changes, seen only here, and the image under a name that overlayfs's options can hold.

    Memory, not the project's disk: overlayfs refuses many file systems for its upper layer (another overlay, NFS), and
    nothing can be left behind. It costs what a host changes: about 60 MB with Python installed.
    """
    mounts = folder / "mnt"
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=700", "lab", mounts)
    os.chdir(mounts)
    (mounts / "image").mkdir()
    run("mount", "--bind", image, mounts / "image")
    return mounts


def _make_root(lab: config.Description, node: config.Node, folder: Path, mounts: Path) -> None:
    """Mount the host's root and write what makes it this host: name, addresses, keys."""
    for part in ("upper", "work", "root"):
        (mounts / node.name / part).mkdir(parents=True)
    layers = f"lowerdir=image,upperdir={node.name}/upper,workdir={node.name}/work"
    run("mount", "-t", "overlay", "-o", layers, node.name, f"{node.name}/root")
    root = mounts / node.name / "root"
    (root / "etc/hostname").write_text(f"{node.name}\n")
    (root / "etc/hosts").write_text(config.hosts_file(lab))
    (root / "etc/resolv.conf").write_text(config.RESOLVER)
    (root / "etc/network/interfaces").write_text(config.interfaces_file(lab, node))
    (root / "root/.ssh").mkdir(mode=0o700)
    shutil.copy(folder / "id_ed25519.pub", root / "root/.ssh/authorized_keys")
    shutil.copy(folder / "host_keys" / node.name, root / "etc/dropbear/dropbear_ed25519_host_key")


def _start(node: config.Node, folder: Path, mounts: Path, ports: Ports) -> subprocess.Popen[str]:
    """Start one host and plug it into the switch; the process returned is its `unshare`."""
    command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "--propagation=private",
    ]
    command += ["sh", str(HOST_INIT), node.name, str(mounts / node.name / "root")]
    with (folder / "logs" / f"{node.name}.console.log").open("ab") as console:
        host = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=console,
            stderr=console,
            text=True,
            env={"PATH": SEARCH_PATH},
        )
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{host.pid}/ns/net") == own:
        if host.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"{node.name}: no new namespaces; see {folder}/logs/{node.name}.console.log")
        time.sleep(POLL_S / 10)
    ports.plug(node.name, node.mac, host.pid)
    assert host.stdin is not None
    with host.stdin as pipe:
        pipe.write(GO)
    return host
