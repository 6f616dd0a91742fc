"""State and errors of a lab without namespaces: what a crash leaves, who holds the lock, what is missing."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from alpinelab import config, holder, image, packages, system
from alpinelab import lab as labs
from alpinelab.system import LabError

DESCRIPTION = config.parse(
    json.dumps({"nat": {"address": "10.9.0.1/24"}, "nodes": [{"name": "alpine-1", "address": "10.9.0.11"}]})
)


@pytest.fixture
def lab(tmp_path: Path) -> labs.Lab:
    """A lab that has been up: its description is there."""
    folder = tmp_path / "unit"
    folder.mkdir()
    (folder / "lab.json").write_text(DESCRIPTION.to_json())
    return labs.Lab(folder)


@pytest.fixture
def process() -> Iterator[int]:
    """Some process that runs."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running.pid
        running.kill()


def up(lab: labs.Lab, description: config.Description = DESCRIPTION, *, check: bool = False) -> dict[str, Any]:
    return labs.up(lab, description, print, timeout_s=1.0, impair_by="auto", check=check)


def note(pid: int, *, started: int | None = None, boot_id: str | None = None) -> str:
    found = system.started(pid) if started is None else started
    return json.dumps({"boot_id": boot_id or system.boot_id(), "pid": pid, "started": found, "image": "/nowhere"})


def test_running_holder_is_found(lab: labs.Lab, process: int) -> None:
    lab.state_file.write_text(note(process))
    assert lab.holder() == process


@pytest.mark.parametrize("stale", ["", "{", None])
def test_unreadable_or_absent_note_means_down(lab: labs.Lab, stale: str | None) -> None:
    if stale is not None:
        lab.state_file.write_text(stale)
    assert lab.holder() is None


def test_reused_pid_is_not_taken_for_the_holder(lab: labs.Lab, process: int) -> None:
    lab.state_file.write_text(note(process, started=(system.started(process) or 0) - 1))
    assert lab.holder() is None


def test_note_of_an_earlier_boot_means_down(lab: labs.Lab, process: int) -> None:
    lab.state_file.write_text(note(process, boot_id="00000000-0000-0000-0000-000000000000"))
    assert lab.holder() is None


def test_zombie_does_not_count_as_running() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert system.started(child.pid) is None


def test_down_spares_a_stranger_and_removes_the_stale_note(lab: labs.Lab, process: int) -> None:
    lab.state_file.write_text(note(process, started=1))
    assert labs.down(lab) == {"changed": False}
    assert system.started(process) is not None
    assert not lab.state_file.exists()


def test_down_removes_a_dead_control_socket(lab: labs.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("10.9.0.11")
    assert labs.down(lab) == {"changed": True}
    assert sorted(path.name for path in lab.folder.iterdir()) == ["lab.json", "lock"]


def test_down_goes_on_when_a_master_connection_hangs(
    lab: labs.Lab, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: list[str], **given: Any) -> None:
        raise subprocess.TimeoutExpired(command, given["timeout"])

    lab.state_file.write_text(note(process))
    monkeypatch.chdir(lab.folder)
    with socket.socket(socket.AF_UNIX) as master:
        master.bind("10.9.0.11")
    monkeypatch.setattr(subprocess, "run", hang)
    assert labs.down(lab) == {"changed": True}
    assert system.started(process) is None
    assert sorted(path.name for path in lab.folder.iterdir()) == ["lab.json", "lock"]


def test_down_tells_when_the_killed_process_does_not_end(
    lab: labs.Lab, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.state_file.write_text(note(process))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(labs, "HOLDER_TIMEOUT_S", 0.1)
    with pytest.raises(LabError, match=f"process {process} does not end"):
        labs.down(lab)
    assert lab.state_file.exists()  # the next `down` finds it


def test_holder_that_nobody_noted_ends_before_it_does_anything(lab: labs.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # `up` was killed: its end of the pipe is closed
    monkeypatch.setattr(holder, "run", lambda *command, **_: pytest.fail(f"ran {command}"))
    holder.hold(lab.folder, Path("/nowhere"), "auto")
    assert [path.name for path in lab.folder.iterdir()] == ["lab.json"]


def test_down_of_a_lab_that_never_was_makes_nothing(tmp_path: Path) -> None:
    assert labs.down(labs.Lab(tmp_path / "never")) == {"changed": False}
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_lab_that_is_down(lab: labs.Lab) -> None:
    nodes = [{"name": "alpine-1", "address": "10.9.0.11", "ssh": False}]
    assert labs.status(lab) == {"id": "unit", "folder": str(lab.folder), "up": False, "nodes": nodes}


def test_connecting_to_a_lab_that_is_down_says_how_to_start_it(lab: labs.Lab) -> None:
    with pytest.raises(LabError, match=r"lab 'unit' is down; bring it up"):
        labs.connect(lab, "10.9.0.11", 22)


def test_other_hosts_than_those_that_run_are_refused(
    lab: labs.Lab, process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    lab.state_file.write_text(note(process))
    other = config.Description(DESCRIPTION.gateway, (config.Node("alpine-9", "10.9.0.19"),))
    with pytest.raises(LabError, match="other hosts or addresses; take it down first"):
        up(lab, other)
    assert system.started(process) is not None


def test_without_root_and_subordinate_ids_the_error_names_the_other_ways(
    lab: labs.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(labs, "require", lambda *_: None)
    monkeypatch.setattr(labs, "AS_ROOT", ("sh", "-c", "echo no ids for you >&2; exit 1"))
    with pytest.raises(
        LabError, match=r"(?s)no ids for you.*usermod --add-subuids.*sudo.*gns3\.yml.*real\.example\.yml"
    ):
        up(lab)


def test_hosts_need_not_answer_at_the_same_moment(lab: labs.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    polls = iter([{"one"}, {"two"}, {"one", "three"}])

    def status(_: labs.Lab) -> dict[str, Any]:
        answering = next(polls)
        nodes = [{"name": name, "address": "", "ssh": name in answering} for name in ("one", "two", "three")]
        return {"up": True, "nodes": nodes}

    monkeypatch.setattr(labs, "status", status)
    assert [node["ssh"] for node in labs._wait_for_ssh(lab, 60.0)["nodes"]] == [True] * 3


def test_lab_id_must_be_a_plain_word(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="lab id 'a b'"):
        up(labs.Lab(tmp_path / "a b"))


def test_check_mode_changes_nothing(tmp_path: Path) -> None:
    fresh = labs.Lab(tmp_path / "fresh")
    assert up(fresh, check=True) == {"changed": True}
    assert list(tmp_path.iterdir()) == []


def test_missing_tools_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"debugfs, ip; install with: apt-get install e2fsprogs iproute2"):
        system.require("ip", "debugfs")


def test_every_required_tool_has_a_package() -> None:
    assert {*image.TOOLS, *labs.TOOLS} <= set(system.DEBIAN_PACKAGES)


def test_failed_command_tells_what_it_said() -> None:
    with pytest.raises(LabError, match=r"ended with status 3: went wrong"):
        system.run(sys.executable, "-c", "import sys; print('went wrong', file=sys.stderr); sys.exit(3)")


def hold_lock(path: Path, held: Event, release: Event) -> None:
    with system.locked(path, 5, "busy"):
        held.set()
        release.wait(30)


def test_lock_keeps_others_out_and_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=hold_lock, args=(path, held, release))
    holder.start()
    assert held.wait(30)
    with pytest.raises(LabError, match="somebody works"), system.locked(path, 0.1, "somebody works"):
        pass
    holder.kill()
    holder.join()
    with system.locked(path, 5, "still locked"):
        pass


def test_image_digest_follows_every_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    libffi = tmp_path / "libffi.so.8"
    libffi.write_bytes(b"one")
    monkeypatch.setattr(image, "controller_libffi", lambda: libffi)
    first = image.inputs_digest()
    assert image.inputs_digest() == first
    libffi.write_bytes(b"two")
    assert image.inputs_digest() != first


def test_every_wheel_is_pinned_by_version_and_digest() -> None:
    lines = (packages.HERE / "wheels.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    for pin in pins:
        requirement, digest = pin.split(" --hash=sha256:")
        assert requirement.count("==") == 1
        assert len(bytes.fromhex(digest)) == 32
