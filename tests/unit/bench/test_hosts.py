"""What a benchmark that was killed has left goes at the next one's start; that of one that runs stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import hosts
from tests.project import ROOT


@pytest.fixture
def gone() -> int:
    """Pid of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_folders_in_memory_are_swept(gone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MEMORY", str(tmp_path))
    monkeypatch.setattr(hosts, "NAMESPACES", tmp_path / "none")
    stay = {f"udpxfer-bench-{os.getpid()}-x1", "udpxfer-bench-by-hand", "another"}
    for name in (*stay, f"udpxfer-bench-{gone}-x2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    hosts.sweep()
    assert {path.name for path in tmp_path.iterdir()} == stay


@pytest.fixture
def namespace(gone: int) -> Iterator[str]:
    """A network namespace that a killed benchmark has left."""
    name = f"bench-{gone}-a"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_namespaces_are_swept_with_what_runs_there(namespace: str) -> None:
    inside = ["ip", "netns", "exec", namespace, "sh", "-c", "echo; exec sleep 600"]
    with subprocess.Popen(inside, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        path = os.pathsep.join(map(str, (ROOT, ROOT / "files", ROOT / "roles/lab_embedded/files")))
        command = [sys.executable, "-m", "bench.hosts"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=True)
        assert program.wait(60) == -9
    assert not (hosts.NAMESPACES / namespace).exists()
