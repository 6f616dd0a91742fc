"""The embedded lab itself, without Ansible: it comes up twice, beside another, after every kind of crash, and leaves nothing.

Labs of these tests live in temporary folders, so they never meet the user's. Namespaces need root.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.program import DESCRIPTION, HOSTS, ProgramLab, wait_until
from tests.lab.traces import Traces, namespaces_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the embedded lab needs root")


@pytest.fixture
def lab(make_lab: Callable[[str], ProgramLab]) -> ProgramLab:
    """A lab that is up."""
    made = make_lab("one")
    assert made.call("up")["changed"]
    return made


def assert_nothing_left(lab: ProgramLab, namespaces: set[str], interfaces: list[str]) -> None:
    assert namespaces
    nothing = Traces([], [], interfaces)
    wait_until(lambda: lab.traces(namespaces) == nothing, 10)  # init may take a moment to collect what has ended
    assert lab.traces(namespaces) == nothing


def interfaces_now() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def test_second_up_changes_nothing_and_status_tells(lab: ProgramLab) -> None:
    holder = lab.holder
    again = lab.call("up")
    assert not again["changed"]
    assert lab.holder == holder
    status = lab.call("status")
    assert status["up"]
    assert {node["name"]: node["address"] for node in status["nodes"] if node["ssh"]} == HOSTS


def test_hosts_are_bare_alpine_with_openrc(lab: ProgramLab) -> None:
    for host in HOSTS:
        found = lab.ssh(host, "cat /etc/alpine-release; cat /proc/1/comm; hostname; command -v python3 || echo bare")
        release, init, name, python = found.stdout.split()
        assert release.startswith("3.23.")
        assert (init, name, python) == ("init", host, "bare")


def test_packages_come_signed_from_the_lab_s_own_repository(lab: ProgramLab) -> None:
    installed = lab.ssh("alpine-1", "apk add -q --no-progress python3 py3-requests py3-cryptography && echo done")
    assert installed.stdout == "done\n", installed.stderr
    used = lab.ssh("alpine-1", "python3 -c 'import ctypes, cryptography, requests'")
    assert used.returncode == 0, used.stderr
    untrusted = lab.ssh("alpine-2", "rm /etc/apk/keys/lab.rsa.pub; apk add -q --no-progress python3")
    assert untrusted.returncode != 0


def test_nat1_serves_what_lies_in_the_lab_s_folder(lab: ProgramLab) -> None:
    content = os.urandom(3_000_000)
    (lab.folder / "www" / "image").write_bytes(content)
    served = lab.ssh("alpine-2", "wget -qO- http://nat1/image | sha256sum")
    assert served.stdout.split()[0] == hashlib.sha256(content).hexdigest()


def test_wrong_host_key_is_refused(lab: ProgramLab) -> None:
    known = lab.folder / "known_hosts"
    first, second = known.read_text().splitlines()
    swapped = [f"{one.split()[0]} {' '.join(other.split()[1:])}\n" for one, other in ((first, second), (second, first))]
    known.write_text("".join(swapped))
    assert lab.ssh("alpine-1", "true").returncode == 255


def test_host_comes_back_from_a_reboot_with_its_files(lab: ProgramLab) -> None:
    neighbour = lab.boot_id("alpine-2")
    seen = {"", lab.boot_id("alpine-1")}
    for _ in range(2):
        lab.ssh("alpine-1", "echo kept >/root/note; reboot")
        assert wait_until(lambda: lab.boot_id("alpine-1") not in seen)
        seen.add(lab.boot_id("alpine-1"))
    assert lab.ssh("alpine-1", "cat /root/note").stdout == "kept\n"
    assert lab.ssh("alpine-1", "wget -qO /dev/null http://nat1/").returncode == 0
    assert lab.boot_id("alpine-2") == neighbour


def test_two_labs_with_equal_addresses_do_not_meet(lab: ProgramLab, make_lab: Callable[[str], ProgramLab]) -> None:
    other = make_lab("two")
    other.call("up")
    lab.ssh("alpine-1", "echo one >/root/whose")
    other.ssh("alpine-1", "echo two >/root/whose")
    assert lab.ssh("alpine-1", "cat /root/whose").stdout == "one\n"
    other.call("down")
    assert lab.ssh("alpine-1", "cat /root/whose").stdout == "one\n"


def test_down_leaves_nothing(make_lab: Callable[[str], ProgramLab]) -> None:
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
def test_ended_holder_takes_all_with_it(
    make_lab: Callable[[str], ProgramLab], number: signal.Signals, verb: str
) -> None:
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
def test_killed_up_can_be_repeated_and_taken_down(make_lab: Callable[[str], ProgramLab], moment: str) -> None:
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


def test_lab_ends_when_its_folder_is_deleted(lab: ProgramLab) -> None:
    before = interfaces_now()
    namespaces = namespaces_of(lab.folder)
    lab.folder.rename(lab.folder.with_name("gone"))
    assert_nothing_left(lab, namespaces, before)


def test_host_without_ssh_fails_up_with_its_console(lab: ProgramLab) -> None:
    lab.ssh("alpine-2", "poweroff")
    assert wait_until(lambda: "alpine-2: ended" in (lab.folder / "logs" / "holder.log").read_text())
    command = [*lab.command("up"), "--timeout", "5"]  # the other host answers within it, also on a busy machine
    done = subprocess.run(command, input=json.dumps(DESCRIPTION), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "alpine-2 (192.168.122.12): no SSH within 5 s; its console:" in done.stderr
    assert "dropbear" in done.stderr
    assert lab.ssh("alpine-1", "true").returncode == 0  # a lab that was up stays up
