"""The web server of a GNS3 lab's sample images: started once, replaced for another address, ended."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.modules_in_process import run_module


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@pytest.fixture
def served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A folder with a file; nothing serves it afterwards."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "image").write_bytes(b"bytes")
    yield folder
    run_module("serve_images", capsys, address="127.0.0.1:1", folder=str(folder), state="stopped")


def fetch(address: str) -> bytes:
    with urllib.request.urlopen(f"http://{address}/image", timeout=5) as answer:
        content: bytes = answer.read()
    return content


def answers(address: str) -> bool:
    try:
        return fetch(address) == b"bytes"
    except OSError:
        return False


def test_serves_until_it_is_stopped(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(address: str, state: str = "started", check: bool = False) -> dict[str, Any]:
        return run_module("serve_images", capsys, check=check, address=address, folder=str(served), state=state)

    one, other = free_address(), free_address()
    assert call(one, check=True)["changed"]
    assert not answers(one)
    assert call(one)["changed"]
    assert answers(one)
    assert call(one)["changed"] is False

    assert call(other)["changed"]
    assert answers(other)
    assert not answers(one)

    assert call(other, "stopped", check=True)["changed"]
    assert answers(other)
    assert call(other, "stopped")["changed"]
    assert not answers(other)
    assert call(other, "stopped")["changed"] is False


def test_address_in_use_is_named(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        result = run_module("serve_images", capsys, address=address, folder=str(served))
    assert result["failed"]
    assert address in result["msg"]
    assert "lab_gns3_web" in result["msg"]


def test_nonsense_is_no_address(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no address to listen at" in run_module("serve_images", capsys, address="here", folder=str(served))["msg"]
