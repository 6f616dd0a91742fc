"""Hosts that are not the lab's: Debian with systemd. `make matrix` runs what is here; it takes minutes."""

from __future__ import annotations

import functools
import http.server
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix import hosts


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hosts.DebianHosts]:
    """A server and a client, just booted."""
    if lacking := hosts.missing():
        pytest.skip(f"this machine cannot lend itself as a Debian host; it lacks {', '.join(lacking)}")
    made = hosts.DebianHosts(tmp_path_factory.mktemp("debian"), {"debian-1": "127.0.0.2", "debian-2": "127.0.0.3"})
    buffers = Path("/proc/sys/net/core/rmem_max")  # the hosts share this machine's network and with it this setting
    before = buffers.read_text(encoding="utf-8")
    try:
        made.up()
        yield made
    finally:
        made.down()
        buffers.write_text(before, encoding="utf-8")


@pytest.fixture(scope="session")
def image_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of random bytes on a web server."""
    folder = tmp_path_factory.mktemp("www")
    (folder / "image.bin").write_bytes(random.Random(1).randbytes(1_000_000))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/image.bin"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that says nothing."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name in the standard library)
        pass


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Results and key of a test."""
    return tmp_path
