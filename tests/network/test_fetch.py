"""Downloads: whole or not at all, limited, repeated when a server stumbles."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from udpxfer import images
from udpxfer.events import EventLog

from .conftest import command, environment

BODY = os.urandom(300_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """/good works, /flaky breaks off its first body, /busy answers 503 once, /endless does not say how long it is."""

    seen: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        first = self.path not in self.seen
        self.seen.add(self.path)
        name = self.path.rpartition("/")[2]
        if name == "missing":
            self.send_error(404)
            return
        if name == "busy" and first:
            self.send_error(503)
            return
        self.send_response(200)
        if name != "endless":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000] if name == "flaky" and first else BODY)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a web server that stumbles."""
    Handler.seen = set()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(tmp_path: Path, *arguments: str) -> tuple[int, str, list[dict[str, object]]]:
    """Run `fetch`; returns exit status, errors, and the files in the manifest."""
    manifest = tmp_path / "manifest.json"
    manifest.unlink(missing_ok=True)
    ended = subprocess.run(
        command("fetch", "--into", tmp_path / "into", "--json", manifest, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    files: list[dict[str, object]] = json.loads(manifest.read_text())["files"] if manifest.exists() else []
    return ended.returncode, ended.stderr, files


def test_good_and_stumbling_servers(tmp_path: Path, url: str) -> None:
    status, errors, files = fetch(tmp_path, f"{url}/good", f"{url}/flaky", f"{url}/busy", f"{url}/endless")
    assert status == 0, errors
    assert [entry["file"] for entry in files] == ["good", "flaky", "busy", "endless"]
    for entry in files:
        assert entry["sha256"] == hashlib.sha256(BODY).hexdigest()
        assert (tmp_path / "into" / str(entry["file"])).read_bytes() == BODY
        assert entry["changed"] is True
    assert sorted(os.listdir(tmp_path / "into")) == ["busy", "endless", "flaky", "good"]


def test_the_same_content_is_left_alone(tmp_path: Path, url: str) -> None:
    fetch(tmp_path, f"{url}/good")
    before = (tmp_path / "into/good").stat()
    _, _, files = fetch(tmp_path, f"{url}/good")
    assert files[0]["changed"] is False
    assert (tmp_path / "into/good").stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    ("path", "options", "code"),
    [
        ("/missing", (), "download_failed"),
        ("/good", ("--max-bytes", "1000"), "download_too_large"),
        ("/endless", ("--max-bytes", "1000"), "download_too_large"),
        ("/flaky", ("--retries", "0"), "download_failed"),
        ("/", (), "bad_name"),
    ],
)
def test_failures_leave_nothing(tmp_path: Path, url: str, path: str, options: tuple[str, ...], code: str) -> None:
    status, errors, files = fetch(tmp_path, url + path, *options)
    assert status == 1
    assert errors.startswith(f"udpxfer: {code}: ")
    assert files == []
    assert os.listdir(tmp_path / "into") == []


class CutOff(requests.Response):
    """A response whose body breaks off, as urllib3 before version 2 gives it."""

    def __init__(self, length: str) -> None:
        super().__init__()
        self.headers["Content-Length"] = length

    def iter_content(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[bytes]:  # noqa: ARG002
        yield BODY[:1000]


def test_a_body_that_breaks_off_is_noticed_here_too() -> None:
    log = EventLog(os.open(os.devnull, os.O_WRONLY))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        images._copy(CutOff(str(len(BODY))), io.BytesIO(), "url", len(BODY), log)
    assert images._copy(CutOff("nonsense"), io.BytesIO(), "url", len(BODY), log)[0] == 1000


def test_a_dead_server_is_told(tmp_path: Path) -> None:
    status, errors, _ = fetch(tmp_path, "http://127.0.0.1:9/image", "--retries", "0")
    assert status == 1
    assert errors.startswith("udpxfer: download_failed: ")
