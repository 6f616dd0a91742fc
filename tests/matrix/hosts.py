"""Debian hosts with systemd, made of this machine's own files: what the embedded lab, which is Alpine, cannot show."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.project import environment

BOOT = Path(__file__).with_name("boot_host.sh")
SSH_PORT = 2222
DEADLINE_S = 60.0
NEEDED = ("/lib/systemd/systemd", "/usr/sbin/sshd", "/usr/bin/apt-get", "/usr/bin/unshare")


def missing() -> list[str]:
    """What this machine lacks to make such hosts of it; they also need root."""
    return [path for path in NEEDED if not Path(path).exists()] + ([] if os.geteuid() == 0 else ["root"])


@dataclass
class DebianHosts:
    """Some hosts that share this machine's network, each with an SSH server at an address of its own."""

    folder: Path
    addresses: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    def up(self) -> None:
        """Boot them; returns when each answers."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        for name, address in self.addresses.items():
            self._lay_files(name, address)
            self._boot(name)
        for name in self.addresses:
            self._wait(name)

    def down(self) -> None:
        """End them with all that runs on them."""
        for process in self.processes:
            process.send_signal(signal.SIGKILL)  # unshare's --kill-child ends the host's init, and that everything
            process.wait()

    def shell(self, name: str, script: str, check: bool = True, timeout_s: float = 300) -> str:
        """What a script prints that root runs on a host."""
        done = subprocess.run(
            ["ssh", *self.ssh_options(), "-p", str(SSH_PORT), f"root@{self.addresses[name]}", "sh -s"],
            input=script,
            text=True,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def copy(self, name: str, folder: Path, target: str) -> None:
        """A folder of this machine on a host, under another path."""
        archive = subprocess.run(["tar", "-C", str(folder), "-c", "."], check=True, capture_output=True).stdout
        ssh = ["ssh", *self.ssh_options(), "-p", str(SSH_PORT), f"root@{self.addresses[name]}"]
        subprocess.run([*ssh, f"mkdir -p {target} && tar -C {target} -x"], input=archive, check=True)

    def ssh_options(self) -> list[str]:
        """How ssh reaches them without a look at anybody's own settings."""
        return [
            "-F",
            "/dev/null",
            "-i",
            str(self.key),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]

    def _lay_files(self, name: str, address: str) -> None:
        root = self.folder / "files" / name
        sshd = root / "etc" / "ssh" / "sshd_config.d" / "test.conf"
        sshd.parent.mkdir(parents=True)
        sshd.write_text(
            f"Port {SSH_PORT}\nListenAddress {address}\nPermitRootLogin prohibit-password\n", encoding="utf-8"
        )
        keys = root / "root" / ".ssh"
        keys.mkdir(parents=True, mode=0o700)
        (keys / "authorized_keys").write_bytes(self.key.with_suffix(".pub").read_bytes())
        (root / "root").chmod(0o700)

    def _boot(self, name: str) -> None:
        command = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child"]
        command += ["--propagation=private", "sh", str(BOOT), name, str(self.folder)]
        with (self.folder / f"{name}.console.log").open("wb") as console:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment(),
                start_new_session=True,
            )
        self.processes.append(process)

    def _wait(self, name: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while "ready" not in self.shell(name, "echo ready", check=False):
            console = (self.folder / f"{name}.console.log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{name} does not answer; its console:\n{console}"
            time.sleep(0.2)
