from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from module_utils.udp_sockets import sockets_at
from modules import check_host

from tests.unit.plugins.modules_in_process import run_module


@pytest.fixture
def taken() -> Iterator[int]:
    """A UDP port that this process has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def check(capsys: pytest.CaptureFixture[str], **options: object) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "host": "alpine-1",
        "program": "/usr/local/bin/udpxfer",
        "folder": "/tmp/not/there",
        "free_bytes": 1,
    }
    return run_module("check_host", capsys, **{**defaults, **options})


def test_a_good_host_has_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check(capsys).get("failed")


def test_who_has_the_port_is_named(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    result = check(capsys, udp_port=taken)
    assert result["failed"]
    assert result["msg"].startswith(f"alpine-1: UDP port {taken} is taken by '")
    assert "python" in result["msg"]
    assert "udpxfer_port" in result["msg"]


def test_the_program_itself_may_have_the_port(capsys: pytest.CaptureFixture[str], taken: int) -> None:
    mine = next(iter(check_host.owners(sockets_at(taken))))[0]
    assert not check(capsys, udp_port=taken, program=mine).get("failed"), sys.argv


def test_a_disk_without_room_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = check(capsys, folder=str(tmp_path / "none" / "yet"), free_bytes=10**18)
    assert result["failed"]
    assert f"the disk of {tmp_path}/none/yet has " in result["msg"]
    assert "preflight_free_bytes" in result["msg"]
