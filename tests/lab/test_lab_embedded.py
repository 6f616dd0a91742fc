"""The embedded lab itself, without Ansible: it comes up twice, beside another, after every kind of crash, and leaves nothing.

Labs of these tests live in temporary folders, so they never meet the user's. Namespaces need root.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.traces import Traces, namespaces_of
from tests.project import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the embedded lab needs root")

PROGRAM = ROOT / "roles" / "lab_embedded" / "files" / "lab.py"
HOSTS = {"alpine-1": "192.168.122.11", "alpine-2": "192.168.122.12"}
DESCRIPTION = {"gateway": "192.168.122.1/24", "nodes": [{"name": n, "address": a} for n, a in HOSTS.items()]}
DEADLINE_S = 60.0


def wait_until(what: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    """False when it did not come true in time."""
    deadline = time.monotonic() + deadline_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@dataclass(frozen=True)
class Lab:
    """A lab by its folder, driven by the program's command line."""

    folder: Path

    def command(self, verb: str) -> list[str]:
        return [sys.executable, str(PROGRAM), verb, str(self.folder)]

    def call(self, verb: str, description: dict[str, Any] | None = None) -> dict[str, Any]:
        text = json.dumps(description or DESCRIPTION)
        done = subprocess.run(self.command(verb), input=text, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def ssh(self, host: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        ssh = ["ssh", "-F", str(self.folder / "ssh_config"), *options, host, command]
        return subprocess.run(ssh, capture_output=True, text=True, check=False, timeout=DEADLINE_S, cwd="/")

    def boot_id(self, host: str) -> str:
        """Empty while the host does not answer."""
        return self.ssh(host, "cat /proc/sys/kernel/random/boot_id").stdout.strip()

    @property
    def holder(self) -> int:
        return int(json.loads((self.folder / "state.json").read_text())["pid"])

    def traces(self, namespaces: set[str]) -> Traces:
        return Traces.of(self.folder, namespaces)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[str], Lab]]:
    """Labs of this test, taken down at its end."""
    made: list[Lab] = []

    def make(lab_id: str) -> Lab:
        made.append(Lab(tmp_path / lab_id))
        return made[-1]

    yield make
    for lab in made:
        lab.call("down")


@pytest.fixture
def lab(make_lab: Callable[[str], Lab]) -> Lab:
    """A lab that is up."""
    made = make_lab("one")
    assert made.call("up")["changed"]
    return made


def assert_nothing_left(lab: Lab, namespaces: set[str], interfaces: list[str]) -> None:
    assert namespaces
    nothing = Traces([], [], interfaces)
    wait_until(lambda: lab.traces(namespaces) == nothing, 10)  # init may take a moment to collect what has ended
    assert lab.traces(namespaces) == nothing


def interfaces_now() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def test_second_up_changes_nothing_and_status_tells(lab: Lab) -> None:
    holder = lab.holder
    again = lab.call("up")
    assert not again["changed"]
    assert lab.holder == holder
    status = lab.call("status")
    assert status["up"]
    assert {node["name"]: node["address"] for node in status["nodes"] if node["ssh"]} == HOSTS


def test_hosts_are_bare_alpine_with_openrc(lab: Lab) -> None:
    for host in HOSTS:
        found = lab.ssh(host, "cat /etc/alpine-release; cat /proc/1/comm; hostname; command -v python3 || echo bare")
        release, init, name, python = found.stdout.split()
        assert release.startswith("3.23.")
        assert (init, name, python) == ("init", host, "bare")


def test_packages_come_signed_from_the_lab_s_own_repository(lab: Lab) -> None:
    installed = lab.ssh("alpine-1", "apk add -q --no-progress python3 py3-requests py3-cryptography && echo done")
    assert installed.stdout == "done\n", installed.stderr
    used = lab.ssh("alpine-1", "python3 -c 'import ctypes, cryptography, requests'")
    assert used.returncode == 0, used.stderr
    untrusted = lab.ssh("alpine-2", "rm /etc/apk/keys/lab.rsa.pub; apk add -q --no-progress python3")
    assert untrusted.returncode != 0


def test_nat1_serves_the_sample_images(lab: Lab) -> None:
    served = lab.ssh("alpine-2", "for i in image1.jpg image2.png; do wget -qO- http://nat1/$i | sha256sum; done")
    digests = [line.split()[0] for line in served.stdout.splitlines()]
    paths = [lab.folder / "www" / name for name in ("image1.jpg", "image2.png")]
    assert digests == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    small, large = (path.stat().st_size for path in paths)
    assert 200_000 < small < 400_000
    assert 2_500_000 < large < 3_500_000


def test_wrong_host_key_is_refused(lab: Lab) -> None:
    known = lab.folder / "known_hosts"
    first, second = known.read_text().splitlines()
    swapped = [f"{one.split()[0]} {' '.join(other.split()[1:])}\n" for one, other in ((first, second), (second, first))]
    known.write_text("".join(swapped))
    assert lab.ssh("alpine-1", "true").returncode == 255


def test_host_comes_back_from_a_reboot_with_its_files(lab: Lab) -> None:
    neighbour = lab.boot_id("alpine-2")
    seen = {"", lab.boot_id("alpine-1")}
    for _ in range(2):
        lab.ssh("alpine-1", "echo kept >/root/note; reboot")
        assert wait_until(lambda: lab.boot_id("alpine-1") not in seen)
        seen.add(lab.boot_id("alpine-1"))
    assert lab.ssh("alpine-1", "cat /root/note").stdout == "kept\n"
    assert lab.ssh("alpine-1", "wget -qO /dev/null http://nat1/image1.jpg").returncode == 0
    assert lab.boot_id("alpine-2") == neighbour


def test_two_labs_with_equal_addresses_do_not_meet(lab: Lab, make_lab: Callable[[str], Lab]) -> None:
    other = make_lab("two")
    other.call("up")
    lab.ssh("alpine-1", "echo one >/root/whose")
    other.ssh("alpine-1", "echo two >/root/whose")
    assert lab.ssh("alpine-1", "cat /root/whose").stdout == "one\n"
    other.call("down")
    assert lab.ssh("alpine-1", "cat /root/whose").stdout == "one\n"


def test_down_leaves_nothing(make_lab: Callable[[str], Lab]) -> None:
    before = interfaces_now()
    lab = make_lab("one")
    lab.call("up")
    master = ["-o", "ControlMaster=auto", "-o", "ControlPersist=600", "-o", f"ControlPath={lab.folder}/%h"]
    assert lab.ssh("alpine-1", "true", *master).returncode == 0
    assert (lab.folder / "192.168.122.11").is_socket()
    namespaces = namespaces_of(lab.folder)
    assert len(namespaces) > 5 * len(HOSTS)
    assert lab.call("down")["changed"]
    assert_nothing_left(lab, namespaces, before)
    assert not (lab.folder / "192.168.122.11").exists()
    assert not lab.call("down")["changed"]


@pytest.mark.parametrize("verb", ["up", "down"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_ended_holder_takes_all_with_it(make_lab: Callable[[str], Lab], number: signal.Signals, verb: str) -> None:
    before = interfaces_now()
    lab = make_lab("one")
    lab.call("up")
    namespaces = namespaces_of(lab.folder)
    os.kill(lab.holder, number)
    assert_nothing_left(lab, namespaces, before)
    assert not lab.call("status")["up"]
    lab.call(verb)
    assert lab.call("status")["up"] == (verb == "up")


@pytest.mark.parametrize("moment", ["holder starts", "lab is noted", "first host boots"])
def test_killed_up_can_be_repeated_and_taken_down(make_lab: Callable[[str], Lab], moment: str) -> None:
    before = interfaces_now()
    lab = make_lab("one")
    lab.call("up")  # the image is there: what follows takes a second
    lab.call("down")
    seen = {
        "holder starts": (lab.folder / "logs" / "holder.log").exists,
        "lab is noted": (lab.folder / "state.json").exists,
        "first host boots": (lab.folder / "logs" / "alpine-1.console.log").exists,
    }[moment]
    for old in (lab.folder / "logs").iterdir():
        old.unlink()
    with subprocess.Popen(lab.command("up"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as up:
        assert up.stdin is not None
        up.stdin.write(json.dumps(DESCRIPTION))
        up.stdin.close()
        assert wait_until(seen)
        up.kill()
    namespaces = namespaces_of(lab.folder)
    lab.call("up")
    assert lab.ssh("alpine-2", "true").returncode == 0
    namespaces |= namespaces_of(lab.folder)
    lab.call("down")
    assert_nothing_left(lab, namespaces, before)


def test_lab_ends_when_its_folder_is_deleted(lab: Lab) -> None:
    before = interfaces_now()
    namespaces = namespaces_of(lab.folder)
    lab.folder.rename(lab.folder.with_name("gone"))
    assert_nothing_left(lab, namespaces, before)


def test_host_without_ssh_fails_up_with_its_console(lab: Lab) -> None:
    lab.ssh("alpine-2", "poweroff")
    assert wait_until(lambda: not lab.call("status")["nodes"][1]["ssh"])
    command = [*lab.command("up"), "--timeout", "1"]
    done = subprocess.run(command, input=json.dumps(DESCRIPTION), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "alpine-2 (192.168.122.12): no SSH within 1 s; its console:" in done.stderr
    assert "dropbear" in done.stderr
    assert lab.ssh("alpine-1", "true").returncode == 0  # a lab that was up stays up
