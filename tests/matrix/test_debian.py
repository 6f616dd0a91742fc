"""The main job on Debian with systemd, as a user who becomes root by sudo or doas; the tests tell one story, in this order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from udpxfer.modes import MODES

from tests.lab.playbook import Lab, PlaybookRun
from tests.matrix.hosts import SSH_PORT, DebianHosts
from tests.project import ROOT

pytestmark = pytest.mark.timeout(1800)

MAIN_JOB = "run_all.yml"
PORT = 9371  # the hosts share this machine's network
USER = "student"
BUFFERS = "/proc/sys/net/core/rmem_max"  # of this machine, as the network is; removal puts it back
# Packages, users, services and files as the hosts have them; what the package manager and logins write by themselves is left out.
LISTING = """
dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package}\\n'
sed 's/^/user /' /etc/passwd /etc/group
systemctl list-unit-files --no-legend --no-pager | grep -v transient | sed 's/^/unit /'
find /etc /usr/local /home /var/lib /var/log -xdev \\
  -not -path '/var/lib/apt/*' -not -path '/var/lib/dpkg/*' -not -path '/var/log/*.log' -not -path '/var/log/apt*' \\
  -not -path '/var/log/journal*' -not -path '/var/log/wtmp' -not -path '/var/log/btmp' -not -path '/var/log/lastlog' \\
  -not -path '/var/lib/systemd/*' -not -path '/home/*/.ansible*' -not -path '/etc/*-' -printf '%p %y %m %u:%g\\n'
cat /proc/sys/net/core/rmem_max
"""


def inventory(debian: DebianHosts, scratch: Path, image_url: str, **variables: Any) -> Path:
    """An inventory beside the project's group_vars, as inventory/real.yml is."""
    folder = scratch / "inventory"
    folder.mkdir(exist_ok=True)
    if not (folder / "group_vars").exists():
        (folder / "group_vars").symlink_to(ROOT / "inventory" / "group_vars")
    connection = {
        "ansible_connection": "ssh",
        "ansible_port": SSH_PORT,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": " ".join(debian.ssh_options()),
        "udpxfer_port": PORT,
        **variables,
    }
    address = debian.addresses["debian-1"]
    # A receiver that is bound to all addresses answers from the one that its host prefers, which here is another one.
    servers = {"debian-1": {"ansible_host": address, "receiver_address": address}}
    clients = {"debian-2": {"ansible_host": debian.addresses["debian-2"]}}
    groups = {"servers": {"hosts": servers}, "clients": {"hosts": clients}}
    document = {
        "all": {"vars": {"image_urls": [image_url]}, "children": {"hosts": {"vars": connection, "children": groups}}}
    }
    (folder / "real.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder / "real.yml"


def play(scratch: Path, hosts: Path, *arguments: str) -> PlaybookRun:
    playbook, *rest = arguments
    return Lab("none", scratch).play(playbook, *rest, inventory=hosts)


def document(scratch: Path) -> dict[str, object]:
    run: dict[str, object] = json.loads((scratch / "results" / "latest" / "run.json").read_text(encoding="utf-8"))
    return run


def listings(debian: DebianHosts) -> dict[str, list[str]]:
    return {name: sorted(debian.shell(name, LISTING).splitlines()) for name in debian.addresses}


def changes(debian: DebianHosts, former: dict[str, list[str]]) -> dict[str, list[str]]:
    """What is there now and was not, or the other way round, by host."""
    now = listings(debian)
    found = {name: sorted(set(now[name]) ^ set(former[name])) for name in former}
    return {name: lines for name, lines in found.items() if lines}


def buffers_after_a_boot(debian: DebianHosts, name: str) -> int:
    """What the kernel grants once settings were lost and read anew, as a boot does."""
    script = f"echo 212992 >{BUFFERS} && /lib/systemd/systemd-sysctl >&2; cat {BUFFERS}"
    return int(debian.shell(name, script))


@pytest.fixture(scope="module")
def before(debian: DebianHosts) -> dict[str, list[str]]:
    """The hosts with a user who may not become root yet."""
    for name in debian.addresses:
        script = f"useradd -m -s /bin/sh {USER} && mkdir -m 700 /home/{USER}/.ssh && "
        script += f"cp /root/.ssh/authorized_keys /home/{USER}/.ssh/ && chown -R {USER}: /home/{USER}/.ssh"
        debian.shell(name, script)
    return listings(debian)


@pytest.fixture(scope="module")
def with_sudo(debian: DebianHosts, before: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same hosts once the user may, by sudo and by doas."""
    assert before
    for name in debian.addresses:
        debian.shell(
            name,
            "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -qq -y --no-install-recommends sudo opendoas && "
            f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER} && echo 'permit nopass {USER}' >/etc/doas.conf",
        )
    return listings(debian)


def test_a_user_who_may_not_become_root_is_told(
    debian: DebianHosts, before: dict[str, list[str]], scratch: Path, image_url: str
) -> None:
    hosts = inventory(debian, scratch, image_url, ansible_user=USER, ansible_become=True)
    result = play(scratch, hosts, MAIN_JOB, "--tags", "bootstrap")
    assert result.status != 0
    assert "Its user may not become root: install sudo (or doas) there" in result.messages[0], result.explain()
    assert changes(debian, before) == {}


@pytest.mark.parametrize("method", ["sudo", "community.general.doas"])
def test_main_job_and_removal(
    debian: DebianHosts, with_sudo: dict[str, list[str]], scratch: Path, image_url: str, method: str
) -> None:
    larger = int(debian.shell("debian-1", f"cat {BUFFERS}")) + 4096
    options = {
        "ansible_become": True,
        "ansible_become_method": method,
        "udpxfer_sysctls": {"net.core.rmem_max": larger},
    }
    hosts = inventory(debian, scratch, image_url, ansible_user=USER, **options)
    checked = play(scratch, hosts, MAIN_JOB, "--check", "--diff")
    assert checked.status == 0, checked.explain()
    assert changes(debian, with_sudo) == {}

    result = play(scratch, hosts, MAIN_JOB)
    assert result.status == 0, result.explain()
    # Both share this machine's setting: the first of them to raise it keeps it so.
    after_boots = {buffers_after_a_boot(debian, name): name for name in debian.addresses}
    assert larger in after_boots
    assert buffers_after_a_boot(debian, after_boots[larger]) == larger  # or the other's boot would have the last word
    run = document(scratch)
    assert run["verdict"] == {"passed": True, "reasons": []}
    assert [mode["mode"] for mode in run["modes"]] == list(MODES)  # type: ignore[attr-defined]
    assert all("Debian" in host["release"] for host in run["hosts"])  # type: ignore[attr-defined]
    assert (
        debian.shell("debian-1", "systemctl is-active udpxfer-receiver; systemctl is-enabled udpxfer-receiver")
        == "active\nenabled\n"
    )

    again = play(scratch, hosts, MAIN_JOB, "--tags", "receivers,images")
    assert again.status == 0, again.explain()
    assert again.changed == []

    debian.shell("debian-1", "systemctl kill --signal=KILL udpxfer-receiver")
    revived = play(scratch, hosts, MAIN_JOB, "--tags", MODES[0])
    assert revived.status == 0, revived.explain()

    removed = play(scratch, hosts, "playbooks/remove.yml")
    assert removed.status == 0, removed.explain()
    assert changes(debian, with_sudo) == {}
