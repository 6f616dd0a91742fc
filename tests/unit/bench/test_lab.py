"""What the servers of a lab received is looked at after each round."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from bench import lab
from bench.programs import BenchError

CONTENT = b"what was sent"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> lab.Lab:
    """Three servers, each a folder of this machine; nothing is there yet."""
    (tmp_path / "ssh_config").touch()
    nodes = [{"name": f"alpine-{number}", "address": f"192.0.2.{number}"} for number in (1, 2, 3, 4)]
    (tmp_path / "lab.json").write_text(json.dumps({"nodes": nodes}))
    made = lab.Lab(tmp_path)
    for name in made.servers:
        (tmp_path / name / "in").mkdir(parents=True)

    def run(_: lab.Lab, host: str, script: str, given: str = "") -> str:
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path / host, input=given, capture_output=True, text=True)  # noqa: PLW1510
        if done.returncode:
            raise BenchError(done.stderr)
        return done.stdout

    monkeypatch.setattr(lab, "FOLDER", ".")
    monkeypatch.setattr(lab.Lab, "run", run)
    return made


def receive(folder: Path, *names: str, content: bytes = CONTENT) -> None:
    for name in names:
        (folder / name / "in" / "file").write_bytes(content)


def test_what_arrived_is_removed_so_that_a_send_that_brings_nothing_is_seen(servers: lab.Lab, tmp_path: Path) -> None:
    receive(tmp_path, "alpine-1", "alpine-3")  # alpine-2 is the client
    lab._check(servers, 2, DIGEST)
    with pytest.raises(BenchError, match="No such file"):
        lab._check(servers, 2, DIGEST)


def test_another_file_on_one_server_is_seen(servers: lab.Lab, tmp_path: Path) -> None:
    receive(tmp_path, "alpine-1", "alpine-3")
    receive(tmp_path, "alpine-4", content=b"another")
    with pytest.raises(BenchError, match="another file arrived"):
        lab._check(servers, 3, DIGEST)


def test_a_script_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **given: float) -> None:
        raise subprocess.TimeoutExpired(command, given["timeout"])

    (tmp_path / "ssh_config").touch()
    (tmp_path / "lab.json").write_text('{"nodes": []}')
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(BenchError, match="alpine-1: not done after 600 s"):
        lab.Lab(tmp_path).run("alpine-1", "sleep 1000")
