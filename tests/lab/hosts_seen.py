"""A host of the lab, seen by plain SSH: it may lack Python."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from tests.lab.playbook import Lab

# What runs or is of the kernel's making, and what a host writes by itself: its log, and the copies that adduser makes of the lists it changes.
VOLATILE = (
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/log/*.log",
    "/var/log/messages",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
)
LISTING = f"""
set -- {" -o ".join(f"-path '{path}'" for path in VOLATILE)}
find / -xdev '(' "$@" ')' -prune -o -type f -exec sha256sum {{}} +
find / -xdev '(' "$@" ')' -prune -o -exec stat -c '%n: %F %a %U:%G' {{}} +
find / -xdev '(' "$@" ')' -prune -o -type l -exec readlink -f {{}} +
apk info | sed 's/^/package /'
rc-update show -a | sed 's/^/service /'
rc-status --servicelist 2>/dev/null | sed -n 's/ *\\[ *\\(started\\|stopped\\).*/ \\1/; s/^ .*[a-z]$/runs &/p'
sed 's/^/setting /' /proc/sys/net/core/[rw]mem_max
"""


def shell(lab: Lab, host: str, script: str) -> str:
    """What a shell script prints on a host; raises subprocess.CalledProcessError when it fails."""
    command = ["ssh", "-F", str(lab.state / "ssh_config"), host, "sh -s"]
    return subprocess.run(command, input=script, check=True, text=True, capture_output=True, timeout=60).stdout


def listing(lab: Lab, host: str) -> list[str]:
    """All files with digest, owner and mode, all packages, services and settings of a host."""
    return sorted(shell(lab, host, LISTING).splitlines())


def changes(lab: Lab, before: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What is on hosts now and was not, or the other way round, by host."""
    found = {host: sorted(set(listing(lab, host)) ^ set(lines)) for host, lines in before.items()}
    return {host: lines for host, lines in found.items() if lines}
