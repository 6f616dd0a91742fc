"""A GNS3 machine in namespaces of its own: network, mounts, processes and /run; nothing of it is seen outside.

A GNS3 server needs that: at its start it kills every dynamips and uBridge it sees.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.gns3 import programs
from tests.project import ROOT, environment

HERE = Path(__file__).parent
# GNS3 3 takes 4 s to start on an idle machine; a very busy one took more than a minute.
START_TIMEOUT_S = 180.0
CLONE_NEWNET = 0x40000000
PORT = 3080
GNS3 = f"http://127.0.0.1:{PORT}"
USER, PASSWORD = "admin", "a secret"
# A new sysfs shows the new network's interfaces; the control groups below the old one are kept. The last line ends the
# machine when the test's process does, in whatever way.
SETUP = """\
set -eu
mount -t tmpfs -o mode=755 run /run
mkdir /run/old-cgroup /run/lock
mount --rbind /sys/fs/cgroup /run/old-cgroup
mount -t sysfs sysfs /sys
mount --rbind /run/old-cgroup /sys/fs/cgroup
ip link set lo up
echo ready
read -r _ || true
"""


CAP_SYS_RESOURCE = 24


def may_have(capability: int) -> bool:
    """True when a process started here can get this capability (its number in linux/capability.h)."""
    status = Path("/proc/self/status").read_text()
    (bounds,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")]
    return bool(int(bounds, 16) >> capability & 1)


def wait_until(what: str, met: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll until `met()` is true. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)


def control_group(folder: Path) -> str:
    """Docker's, above the containers'; control groups have no namespaces that could be dropped."""
    return f"gns3-test-{folder.name}"


def discard(folder: Path) -> None:
    """Remove what a machine leaves when nothing of it runs any more: its files and control groups."""
    name = control_group(folder)
    for group in [Path("/sys/fs/cgroup", name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]:
        for inner in sorted([group, *group.rglob("*/")], reverse=True):
            with contextlib.suppress(FileNotFoundError):
                inner.rmdir()
    shutil.rmtree(folder)


@dataclass
class Machine:
    """Namespaces, and what runs in them. `folder` is for its files."""

    folder: Path
    path: list[str] = field(default_factory=list)
    _holder: subprocess.Popen[str] | None = None
    _pid: int = 0
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path) -> Iterator[Machine]:
        """A new machine that ends with the block."""
        machine = cls(folder)
        for name in ("bin", "home", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        machine.path.append(str(folder / "bin"))
        try:
            machine._start()
            yield machine
        finally:
            machine._end()

    def _start(self) -> None:
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True, cwd="/"
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self._pid = int(Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text())

    def _end(self) -> None:
        if self._holder is not None:
            assert self._holder.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._holder.stdin.close()
            try:
                self._holder.wait(5)
            except subprocess.TimeoutExpired:
                self._holder.kill()
                self._holder.wait()
            self._holder.stdout.close()  # type: ignore[union-attr]
        for daemon in self._daemons:
            daemon.wait()

    def inside(self, *command: str, folder: Path = ROOT) -> list[str]:
        """The command that runs a command on the machine, from the project's top folder or another one."""
        enter = ["nsenter", f"--target={self._pid}", "--net", "--mount", "--pid"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]

    def environment(self, **extra: str) -> dict[str, str]:
        """Programs of the machine first; a home of its own, where GNS3 and Docker keep settings."""
        found = environment(HOME=str(self.folder / "home"), **extra)
        found["PATH"] = os.pathsep.join([*self.path, found["PATH"]])
        return found

    def run(self, *command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end; output and errors are one text."""
        return subprocess.run(
            self.inside(*command),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def check(self, *command: str) -> str:
        """Run a command that must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def start(self, name: str, *command: str) -> None:
        """Start a program that runs until the machine's end, in the machine's folder: dynamips logs where it is started."""
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    self.inside(*command, folder=self.folder),
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def log(self, name: str) -> str:
        """What a program wrote."""
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")[-4000:]

    def add_program(self, name: str, *command: str) -> None:
        """A program of this name that runs the command."""
        path = self.folder / "bin" / name
        words = " ".join(f"'{word}'" for word in command)
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)

    def remove_program(self, name: str) -> None:
        """Undo add_program."""
        (self.folder / "bin" / name).unlink()

    def add_ubridge(self) -> None:
        """The real uBridge where it is installed, else the tests' stand-in."""
        if (real := shutil.which("ubridge")) is not None:
            self.add_program("ubridge", real)
        else:
            self.add_program("ubridge", sys.executable, "-IS", str(HERE / "ubridge_stand_in.py"))

    def add_dynamips(self) -> None:
        """Debian's dynamips. Raises programs.MissingError."""
        folder = programs.dynamips()
        libraries = f"LD_LIBRARY_PATH={folder}/usr/lib/x86_64-linux-gnu"
        self.add_program("dynamips", "env", libraries, str(folder / "usr/bin/dynamips"))

    def add_nat_bridge(self, name: str = "virbr0", address: str = "192.168.122.1/24") -> None:
        """The bridge that libvirt makes on a GNS3 machine."""
        self.check("ip", "link", "add", name, "type", "bridge")
        self.check("ip", "address", "add", address, "dev", name)
        self.check("ip", "link", "set", name, "up")

    def start_docker(self) -> None:
        """Start Debian's Docker daemon, without networks of its own. Raises programs.MissingError."""
        self.path.append(programs.search_path(programs.docker()))
        # Without it Docker keeps its id in /etc/docker, which is this machine's own. No option says the same.
        settings = self.folder / "docker.json"
        settings.write_text(json.dumps({"deprecated-key-path": str(self.folder / "docker-key.json")}))
        command = [
            "dockerd",
            "--config-file",
            str(settings),
            "--data-root",
            str(self.folder / "docker"),
            "--exec-root",
            "/run/docker",
            "--pidfile",
            "/run/docker.pid",
        ]
        command += [
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--cgroup-parent",
            f"/{control_group(self.folder)}",
        ]
        if not may_have(CAP_SYS_RESOURCE):
            self.add_program("runc-without-resource", sys.executable, str(HERE / "runc_without_resource.py"))
            command += ["--add-runtime", f"without-resource={self.folder}/bin/runc-without-resource"]
            command += ["--default-runtime", "without-resource"]
        self.start("dockerd", *command)
        wait_until("Docker", lambda: self.run("docker", "version").returncode == 0)

    def build_image(self, name: str, base: Path, authorized_key: str) -> str:
        """Build gns3/Dockerfile as a user does. Alpine's own image is out of reach here: the tree `base`, with its package
        repository, takes its name, which is returned.
        """
        dockerfile = (ROOT / "gns3" / "Dockerfile").read_text(encoding="utf-8")
        (base_name,) = re.findall(r"^FROM (\S+)$", dockerfile, flags=re.MULTILINE)
        self.check("sh", "-c", 'tar -C "$0" -c . | docker import - "$1"', str(base), base_name)
        build = [
            "docker",
            "build",
            "--network=none",
            f"--build-arg=AUTHORIZED_KEY={authorized_key}",
            f"--tag={name}",
            "gns3/",
        ]
        self.check(*build)
        return str(base_name)

    def start_ssh_server(self, key: Path) -> str:
        """Let the owner of this key log in, and make ssh use it; returns user, address and port. Raises programs.MissingError."""
        server = programs.ssh_server()
        passwd = self.folder / "passwd"
        passwd.write_text(Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/bin/false\n")
        self.check("mount", "--bind", str(passwd), "/etc/passwd")
        self.check("mkdir", "/run/sshd")
        self.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{self.folder}/host_key")
        settings = {
            "ListenAddress": "127.0.0.1:2222",
            "HostKey": f"{self.folder}/host_key",
            "AuthorizedKeysFile": f"{key}.pub",
            "StrictModes": "no",
            "PidFile": "none",
            "SetEnv": f"PATH={self.environment()['PATH']}",
        }
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        libraries = f"LD_LIBRARY_PATH={server}/usr/lib/x86_64-linux-gnu"
        self.start("sshd", "env", libraries, f"{server}/usr/sbin/sshd", "-D", "-e", "-f", str(config))
        ssh = shutil.which("ssh")
        assert ssh is not None
        trusting = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        self.add_program("ssh", ssh, "-F", "none", "-i", str(key), *trusting)
        return "root@127.0.0.1:2222"

    def start_gns3(self, version: str) -> None:
        """Start a GNS3 server on 127.0.0.1:3080 of the machine and wait until it answers."""
        home = self.folder / "home"
        (home / "secrets").mkdir(exist_ok=True)
        shutil.copytree(ROOT / "gns3", home / "appliances", dirs_exist_ok=True)
        settings = [
            "[Server]",
            "host = 127.0.0.1",
            f"port = {PORT}",
            "report_errors = False",
            "install_builtin_appliances = False",
        ]
        settings += [
            f"{name}_path = {home}/{name}"
            for name in ("images", "projects", "appliances", "symbols", "configs", "resources")
        ]
        if version == "v3":
            settings += [f"secrets_dir = {home}/secrets", "[Controller]"]
            settings += [f"default_admin_username = {USER}", f"default_admin_password = {PASSWORD}"]
        else:
            settings += ["auth = True", f"user = {USER}", f"password = {PASSWORD}"]
        config = self.folder / "gns3.conf"
        config.write_text("\n".join(settings) + "\n")
        self.start("gns3server", *programs.gns3server(version), "--config", str(config))
        try:
            wait_until(f"GNS3 {version}", self._gns3_answers)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log('gns3server')}") from error

    def _gns3_answers(self) -> bool:
        with self.network():
            try:
                urllib.request.urlopen(GNS3, timeout=5).close()
            except urllib.error.HTTPError:
                pass  # any status is an answer
            except OSError:
                return False
            return True

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """In this block, the calling thread's connections are made on the machine."""
        libc = ctypes.CDLL(None, use_errno=True)
        own_path, there_path = Path("/proc/thread-self/ns/net"), Path(f"/proc/{self._pid}/ns/net")
        with own_path.open("rb") as own, there_path.open("rb") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(own.fileno(), CLONE_NEWNET)
