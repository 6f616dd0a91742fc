"""The small modules that run on hosts."""

from __future__ import annotations

import base64
import getpass
import grp
import json
import os
import pwd
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from module_utils.udp_sockets import sockets_at
from modules import run_program

from tests.unit.plugins.modules_in_process import run_module

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")

ME = getpass.getuser()
OTHER = "nobody"
MY_GROUP = grp.getgrgid(os.getgid()).gr_name


def ids_of(user: str) -> tuple[int, int]:
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A folder that every user reaches, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def entry(path: Path, mode: str, **content: str) -> dict[str, str]:
    return {"path": str(path), "owner": ME, "group": MY_GROUP, "mode": mode, **content}


class TestInstallFiles:
    def install(
        self, capsys: pytest.CaptureFixture[str], *entries: dict[str, str], check: bool = False
    ) -> dict[str, Any]:
        return run_module("install_files", capsys, check=check, entries=list(entries))

    def test_files_and_directories_come_about_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        wanted = (
            entry(tmp_path / "etc", "0750"),
            entry(tmp_path / "etc" / "settings", "0640", content="port=9000\n"),
            entry(tmp_path / "etc" / "key", "0400", content_base64=base64.b64encode(b"\xff").decode()),
        )
        assert self.install(capsys, *wanted)["changed"]
        assert not self.install(capsys, *wanted)["changed"]
        assert (tmp_path / "etc").stat().st_mode & 0o777 == 0o750
        assert (tmp_path / "etc/settings").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "etc/key").read_bytes() == b"\xff"
        assert sorted(path.name for path in (tmp_path / "etc").iterdir()) == ["key", "settings"]

    def test_drift_of_content_and_mode_is_mended(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        wanted = entry(tmp_path / "file", "0640", content="right\n")
        self.install(capsys, wanted)
        (tmp_path / "file").chmod(0o600)
        assert self.install(capsys, wanted)["changed"]
        (tmp_path / "file").write_text("wrong\n")
        diff = self.install(capsys, wanted)["diff"]
        assert [(part["before"], part["after"]) for part in diff] == [("wrong\n", "right\n")]
        assert (tmp_path / "file").read_text() == "right\n"
        assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640

    def test_check_mode_tells_and_touches_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        wanted = (entry(tmp_path / "new", "0750"), entry(tmp_path / "new" / "file", "0640", content="x"))
        assert self.install(capsys, *wanted, check=True)["changed"]
        assert list(tmp_path.iterdir()) == []

    def test_what_is_in_the_way_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "thing").write_text("mine")
        result = self.install(capsys, entry(tmp_path / "thing", "0750"))
        assert result["failed"]
        assert "is in the way: a directory is wanted there" in result["msg"]
        assert (tmp_path / "thing").read_text() == "mine"

    def test_a_link_is_no_directory(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "outside").mkdir(mode=0o755)
        (tmp_path / "link").symlink_to(tmp_path / "outside")
        result = self.install(capsys, entry(tmp_path / "link", "0700"))
        assert "is in the way: a directory is wanted there" in result["msg"]
        assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o755

    def test_result_repeats_no_secret(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        secret = base64.b64encode(b"the key itself").decode()
        result = self.install(capsys, entry(tmp_path / "key", "0400", content_base64=secret))
        assert secret not in json.dumps(result["invocation"])

    def test_what_is_absent_stays_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "data" / "deep").mkdir(parents=True)
        (tmp_path / "outside").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "outside")
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "mine").touch()
        wanted = (
            {"path": str(tmp_path / "data"), "state": "absent"},
            {"path": str(tmp_path / "link"), "state": "absent"},
            {"path": str(tmp_path / "full"), "state": "empty_absent"},
        )
        assert self.install(capsys, *wanted, check=True)["changed"]
        assert (tmp_path / "data" / "deep").is_dir()
        assert self.install(capsys, *wanted)["changed"]
        assert not self.install(capsys, *wanted)["changed"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "outside"]

    def test_a_file_that_is_wanted_needs_an_owner(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = self.install(capsys, {"path": str(tmp_path / "file"), "content": "x"})
        assert result["failed"]
        assert "owner" in result["msg"]


class TestRunFolder:
    def test_only_the_run_stays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").touch()
        parent = tmp_path / "received"
        (parent / "OLD" / "multi_thread").mkdir(parents=True)
        (parent / "link").symlink_to(outside)
        result = run_module("run_folder", capsys, parent=str(parent), run="NEW", owner=ME)
        assert result["removed"] == ["OLD", "link"]
        assert [path.name for path in parent.iterdir()] == ["NEW"]
        assert (parent / "NEW").stat().st_mode & 0o777 == 0o750
        assert (outside / "kept").exists()

    def test_files_of_the_same_run_stay(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "NEW").mkdir()
        (tmp_path / "NEW" / "file").touch()
        assert not run_module("run_folder", capsys, parent=str(tmp_path), run="NEW", owner=ME)["changed"]
        assert (tmp_path / "NEW" / "file").exists()

    @needs_root
    def test_it_makes_and_removes_with_the_owners_rights(
        self, everyones: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is not the owner's to remove stays, wherever links lead."""
        parent = everyones / "received"
        parent.mkdir()
        os.chown(parent, *ids_of(OTHER))
        assert run_module("run_folder", capsys, parent=str(parent), run="NEW", owner=OTHER)["changed"]
        assert (parent / "NEW").owner() == OTHER
        secret = everyones / "roots"
        (secret / "kept").mkdir(parents=True)
        (everyones / "link").symlink_to(secret)
        result = run_module("run_folder", capsys, parent=str(everyones / "link"), run="NEW", owner=OTHER)
        assert f"cannot be cleared and used with the rights of {OTHER}: " in result["msg"]
        assert (secret / "kept").is_dir()
        assert os.geteuid() == 0

    def test_a_host_that_was_not_deployed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = run_module("run_folder", capsys, parent=str(tmp_path / "no"), run="NEW", owner=ME)
        assert result["failed"]
        assert "--tags deploy" in result["msg"]


class TestUdpPort:
    def test_a_bound_port_is_seen(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            assert sockets_at(port)
            result = run_module("udp_port", capsys, port=port, timeout_s=5, host="alpine-1")
        assert not result.get("failed")
        assert not sockets_at(port)

    def test_a_free_port_is_an_error_with_host_and_log(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = tmp_path / "receiver.err"
        log.write_text("cannot read the key\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        result = run_module("udp_port", capsys, port=port, timeout_s=0.1, host="alpine-1", log_files=[str(log)])
        assert result["failed"]
        assert result["msg"].startswith(f"alpine-1: nothing has bound UDP port {port} within 0.1 s")
        assert "cannot read the key" in result["msg"]

    def test_a_log_that_is_a_link_is_not_shown(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "secret").write_text("precious\n")
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(tmp_path / "pipe")
        logs = [str(tmp_path / "link"), str(tmp_path / "pipe")]
        result = run_module("udp_port", capsys, port=0xFFFFF, timeout_s=0, host="alpine-1", log_files=logs)
        assert "precious" not in result["msg"]
        assert result["msg"].endswith(f"{logs[1]}: no plain file")


class TestRunProgram:
    def run(
        self,
        capsys: pytest.CaptureFixture[str],
        folder: Path,
        code: str,
        timeout_s: float = 30,
        user: str = ME,
        python: str = sys.executable,
    ) -> dict[str, Any]:
        return run_module(
            "run_program",
            capsys,
            argv=[python, "-c", code],
            user=user,
            timeout_s=timeout_s,
            log=str(folder / "log"),
            result=str(folder / "result.json"),
            record=str(folder / "exit.json"),
            what="alpine-2: the client",
            advice="Try again.",
        )

    def test_output_result_and_ending_are_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code = f"import pathlib; print('hello'); pathlib.Path({str(tmp_path / 'result.json')!r}).write_text('{{\"a\": 1}}')"
        result = self.run(capsys, tmp_path, code)
        assert result["result"] == {"a": 1}
        assert (tmp_path / "log").read_text() == "hello\n"
        assert json.loads((tmp_path / "exit.json").read_text())["exit_status"] == 0

    def test_a_failure_shows_the_end_of_its_output(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = self.run(capsys, tmp_path, "import sys; sys.exit('no route')")
        assert result["failed"]
        assert result["msg"].startswith("alpine-2: the client ended with status 1. Try again.")
        assert "no route" in result["msg"]
        assert json.loads((tmp_path / "exit.json").read_text())["exit_status"] == 1

    def test_at_the_time_limit_its_children_end_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        pid_file = tmp_path / "pid"
        code = (
            "import pathlib, subprocess, time; child = subprocess.Popen(['sleep', '600']); "
            f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid)); time.sleep(600)"
        )
        result = self.run(capsys, tmp_path, code, timeout_s=2)
        assert result["failed"]
        assert "did not end within 2 s and was stopped" in result["msg"]
        assert json.loads((tmp_path / "exit.json").read_text())["timed_out"]
        deadline = time.monotonic() + 10
        while is_alive(int(pid_file.read_text())):
            assert time.monotonic() < deadline, "the child outlived its parent"
            time.sleep(0.01)

    def test_at_the_time_limit_it_may_still_write_its_result(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = (
            "import pathlib, signal, sys, time\n"
            "def end(*_):\n"
            f"    pathlib.Path({str(tmp_path / 'result.json')!r}).write_text('{{}}')\n"
            "    sys.exit(130)\n"
            "signal.signal(signal.SIGTERM, end)\n"
            "time.sleep(600)"
        )
        result = self.run(capsys, tmp_path, code, timeout_s=2)
        assert "did not end within 2 s and was stopped" in result["msg"]
        assert (tmp_path / "result.json").read_text() == "{}"
        assert json.loads((tmp_path / "exit.json").read_text())["exit_status"] == 130

    def test_what_hears_no_signal_is_killed(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_program, "GRACE_S", 0.1)
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        result = self.run(capsys, tmp_path, code, timeout_s=2)
        assert (result["timed_out"], result["exit_status"]) == (True, -9)

    def test_the_result_of_a_former_attempt_is_not_taken_for_this_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "result.json").write_text('{"a": 1}')
        assert self.run(capsys, tmp_path, "")["result"] is None
        assert not (tmp_path / "result.json").exists()

    def test_a_link_in_the_logs_place_is_not_followed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "precious").write_text("kept")
        (tmp_path / "log").symlink_to(tmp_path / "precious")
        self.run(capsys, tmp_path, "print('hello')")
        assert (tmp_path / "precious").read_text() == "kept"
        assert (tmp_path / "log").read_text() == "hello\n"

    @needs_root
    def test_a_link_in_the_folders_place_leads_only_where_the_user_may_go(
        self, everyones: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (everyones / "roots").mkdir()
        (everyones / "RUN").symlink_to(everyones / "roots")
        result = self.run(capsys, everyones / "RUN", "print('hello')", user=OTHER)
        assert "could not be started: [Errno 13] Permission denied" in result["msg"]
        assert list((everyones / "roots").iterdir()) == []

    @needs_root
    def test_its_files_are_the_users(self, everyones: Path, capsys: pytest.CaptureFixture[str]) -> None:
        os.chown(everyones, *ids_of(OTHER))
        result = self.run(capsys, everyones, "id -u", user=OTHER, python="sh")
        assert not result.get("failed")
        assert (everyones / "log").read_text() == f"{ids_of(OTHER)[0]}\n"
        assert {path.owner() for path in everyones.iterdir()} == {OTHER}

    @pytest.mark.parametrize("status", [0, 1])
    def test_links_in_the_place_of_what_it_wrote_show_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
    ) -> None:
        (tmp_path / "secret").write_text('{"precious": 1}')
        links = "; ".join(
            f"pathlib.Path({str(tmp_path / name)!r}).unlink(missing_ok=True); "
            f"pathlib.Path({str(tmp_path / name)!r}).symlink_to({str(tmp_path / 'secret')!r})"
            for name in ("log", "result.json")
        )
        result = self.run(capsys, tmp_path, f"import pathlib, sys; {links}; sys.exit({status})")
        assert result["failed"]
        assert "precious" not in json.dumps(result)

    def test_a_program_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = run_module(
            "run_program",
            capsys,
            argv=[str(tmp_path / "no")],
            user=ME,
            timeout_s=5,
            log=str(tmp_path / "log"),
            what="alpine-2: the client",
            advice="Try again.",
        )
        assert result["failed"]
        assert result["msg"].startswith("alpine-2: the client could not be started: ")
        assert "--tags deploy" in result["msg"]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended but waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
