"""The programs that are measured: the machine's own, or unpacked from packages into a cache, where they change nothing else.

Unpacked, not installed: some would start a service of their own, and two exclude each other.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterable
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "bench"
PYTHON_PACKAGES = CACHE / "python"
FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
PACKAGES = {
    "atftp": "atftp",
    "atftpd": "atftpd",
    "curl": "curl",
    "in.tftpd": "tftpd-hpa",
    "iperf3": "iperf3",
    "rsync": "rsync",
    "scp": "openssh-client",
    "socat": "socat",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "time": "time",
    "udp-receiver": "udpcast",
    "udp-sender": "udpcast",
    "uftp": "uftp",
    "uftpd": "uftp",
}
"""Debian's package of each program."""


class BenchError(Exception):
    """The benchmark cannot run here; the text says what to do."""


def find(name: str) -> str | None:
    """Path of a program."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin", *(str(CACHE / part) for part in FOLDERS)]
    return shutil.which(name, path=":".join(folders))


def tool(name: str) -> str:
    """Path of a program. Raises BenchError when there is none."""
    if (path := find(name)) is None:
        raise BenchError(f"{name} is not installed" + (f": apt-get install {PACKAGES[name]}" * (name in PACKAGES)))
    return path


def provide(names: Iterable[str], modules: Iterable[str]) -> None:
    """Get missing programs from Debian and Python modules from PyPI, as far as that works here; what did not is said."""
    packages = sorted({PACKAGES[name] for name in names if find(name) is None})
    if packages and shutil.which("apt-get"):
        _attempt("apt-get and dpkg", packages, _unpack)
    if missing := [name for name in modules if not (PYTHON_PACKAGES / name).is_dir()]:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target"]
        _attempt("pip", missing, lambda wanted: _output(*pip, str(PYTHON_PACKAGES), *wanted))
    libraries = [str(folder) for folder in CACHE.glob("usr/lib/*-linux-*")]
    if libraries:
        os.environ["LD_LIBRARY_PATH"] = ":".join(libraries)


def _attempt(means: str, wanted: list[str], action: Callable[[list[str]], object]) -> None:
    print(f"Getting what is missing, into {CACHE} only: {' '.join(wanted)}", file=sys.stderr)
    try:
        action(wanted)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        print(f"bench: {means} could not get {' '.join(wanted)}: {reason.strip()[-300:]}", file=sys.stderr)


def _unpack(packages: list[str]) -> None:
    """Unpack packages, and those they need that are not installed."""
    folder = CACHE / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        _output("apt-get", "update", "-qq")
    wanted = set(packages)
    for package in packages:
        plan = _output("apt-get", "install", "--simulate", "--no-install-recommends", package)
        words = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
        wanted |= {line[1] for line in words if not line[2].startswith("[")}  # [older version]: is installed
    _output("apt-get", "download", *sorted(wanted), cwd=folder)
    for archive in folder.glob("*.deb"):
        _output("dpkg", "--extract", str(archive), str(CACHE))


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def versions(names: Iterable[str], modules: Iterable[str]) -> dict[str, str]:
    """Versions of programs and modules as their packages tell; a program of no package is "unknown"."""
    found = {PACKAGES[name]: _package_version(path) for name in names if (path := find(name))}
    for module in modules:
        for distribution in importlib.metadata.distributions(name=module, path=[str(PYTHON_PACKAGES)]):
            found[module] = distribution.version
    return dict(sorted(found.items()))


def _package_version(path: str) -> str:
    if path.startswith(str(CACHE)):
        names = {package for program, package in PACKAGES.items() if program == Path(path).name}
        archives = [archive for name in names for archive in (CACHE / "packages").glob(f"{name}_*.deb")]
        return urllib.parse.unquote(archives[0].name.split("_")[1])
    try:
        package = _output("dpkg-query", "--search", path).partition(": ")[0].split(",")[0]
        return _output("dpkg-query", "--show", "--showformat", "${Version}", package)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line for line in lines if line.startswith("model name")), f": {platform.machine()}")  # Arm names none
    return {
        "processor": f"{os.cpu_count()} x {cpu.partition(': ')[2]}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cryptography": importlib.metadata.version("cryptography"),
        "tcp_congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "load_average": f"{os.getloadavg()[0]:.1f}",
    }
