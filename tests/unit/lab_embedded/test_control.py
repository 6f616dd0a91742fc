"""Requests to a lab: what is answered, what goes wrong, and a socket in a folder whose path is too long for one."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alpinelab import config, control
from alpinelab.impair import Ports
from alpinelab.system import LabError

DESCRIPTION = config.parse(
    json.dumps({"nat": {"address": "127.0.0.1/8"}, "nodes": [{"name": "alpine-1", "address": "127.0.0.2"}]})
)


def listens(folder: Path) -> bool:
    """The socket is there a moment before anybody listens."""
    try:
        control.connection(folder).close()
    except OSError:
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A lab's folder whose lab answers; its ports have no devices."""
    deep = tmp_path / ("long" * 30) / "lab"
    deep.mkdir(parents=True)
    switch = control.Switch(DESCRIPTION, Ports(["alpine-1"], "auto"))
    threading.Thread(target=control.serve, args=(deep, switch), daemon=True).start()
    deadline = time.monotonic() + 30
    while not listens(deep) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield deep
    (deep / control.SOCKET).unlink()


def test_status(folder: Path) -> None:
    found = control.ask(folder, "status")
    perfect: dict[str, object] = {"link": "up", "to_host": {}, "from_host": {}, "capture": None}
    nodes = [{"name": "alpine-1", "address": "127.0.0.2", **perfect}]
    assert [{key: value for key, value in node.items() if key != "ssh"} for node in found.pop("nodes")] == nodes
    assert found == {"profile": "clean", "impaired_by": None}


def test_a_slow_link_s_host_has_time_for_its_banner() -> None:
    assert control.banner_timeout_s({"to_host": {}, "from_host": {}}) == control.BANNER_TIMEOUT_S
    satellite = {"to_host": {"delay_ms": 140, "jitter_ms": 10}, "from_host": {"delay_ms": 150}}
    assert control.banner_timeout_s(satellite) == control.BANNER_TIMEOUT_S + 2 * 0.3


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("dance", {}, "KeyError: 'dance'"),
        ("link", {"host": "alpine-1"}, "TypeError: .*'up'"),
        ("link", {"host": "alpine-2", "up": True}, "no host 'alpine-2' in this lab; there are: alpine-1"),
    ],
)
def test_error_comes_back(folder: Path, verb: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(LabError, match=message):
        control.ask(folder, verb, **arguments)


def test_check_tells_and_changes_nothing(folder: Path) -> None:
    for _ in range(2):
        assert control.ask(folder, "link", host="alpine-1", up=False, check=True) == {"changed": True}
    assert control.ask(folder, "status")["nodes"][0]["link"] == "up"


def test_connection_is_handed_over(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        descriptor = control.connected(folder, "127.0.0.1", server.getsockname()[1])
        with socket.socket(fileno=descriptor) as near, server.accept()[0] as far:
            near.sendall(b"hello")
            assert far.recv(5) == b"hello"


def test_refused_connection_is_told(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LabError, match=rf"127.0.0.1 port {port}: .*refused"):
        control.connected(folder, "127.0.0.1", port)


def test_socket_is_for_its_owner_alone(folder: Path) -> None:
    assert (folder / control.SOCKET).stat().st_mode & 0o777 == 0o600


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        control.ask(tmp_path, "status")
