"""Downloads over HTTP with requests: streamed, limited, repeated on failure, stored whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
import time
import urllib.parse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from .core.names import check_name
from .errors import Code, TransferError
from .events import EventLog

CHUNK_BYTES = 65_536
TIMEOUT_S = (5.0, 30.0)
"""To connect, and between two bytes."""
BACKOFF_S = 0.3
"""The pause before the second try; each further one is twice as long."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A downloaded file; ``changed`` is False when the same content was there already."""

    url: str
    file: str
    bytes: int
    sha256: str
    changed: bool
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The download as it appears in the manifest."""
        return dataclasses.asdict(self)


def file_name(url: str) -> str:
    """The last component of the URL's path. Raises TransferError when it is no usable name."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    try:
        check_name(name)
    except TransferError as error:
        raise TransferError(Code.BAD_NAME, f"{url} names no file", "give the URL of a file") from error
    return name


def new_session(retries: int) -> requests.Session:
    """A session that repeats failed requests ``retries`` times, with growing pauses."""
    session = requests.Session()
    retry = Retry(total=retries, backoff_factor=BACKOFF_S, status_forcelist=(429, 500, 502, 503, 504))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def fetch(session: requests.Session, url: str, into: str, max_bytes: int, retries: int, log: EventLog) -> Download:
    """Download ``url`` into the directory ``into``, at most ``max_bytes``. Raises TransferError.

    A body that breaks off is asked for again, up to ``retries`` times; requests itself only repeats the head.
    """
    name, started = file_name(url), time.monotonic()
    attempt = 0
    while True:
        try:
            size, digest, changed = _store(session, url, os.path.join(into, name), max_bytes, log)
            return Download(url, name, size, digest, changed, time.monotonic() - started)
        except requests.exceptions.RequestException as error:
            broken = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)
            if attempt == retries or not isinstance(error, broken):
                raise TransferError(Code.DOWNLOAD_FAILED, f"{url}: {error}") from error
        time.sleep(BACKOFF_S * 2**attempt)
        attempt += 1


def _store(session: requests.Session, url: str, path: str, max_bytes: int, log: EventLog) -> tuple[int, str, bool]:
    """Stream into a hidden file, then rename it. Returns size, SHA-256 and whether the content is new."""
    with session.get(url, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        descriptor, temporary = tempfile.mkstemp(prefix=".udpxfer-", dir=os.path.dirname(path) or ".")
        try:
            with open(descriptor, "wb") as file:
                size, digest = _copy(response, file, url, max_bytes, log)
                os.fchmod(descriptor, 0o644)
                file.flush()
                os.fsync(descriptor)
            changed = _sha256(path) != digest
            if changed:
                os.replace(temporary, path)
            return size, digest, changed
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _copy(response: requests.Response, file: Any, url: str, max_bytes: int, log: EventLog) -> tuple[int, str]:
    length = response.headers.get("Content-Length", "")
    announced = int(length) if length.isdecimal() else 0
    digest, size = hashlib.sha256(), 0
    if announced > max_bytes:
        raise TransferError(Code.DOWNLOAD_TOO_LARGE, f"{url} has {announced} bytes, at most {max_bytes} are taken")
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise TransferError(Code.DOWNLOAD_TOO_LARGE, f"{url} has more than {max_bytes} bytes")
        digest.update(chunk)
        file.write(chunk)
        log.progress(url, size, announced)
    if announced and size != announced and "Content-Encoding" not in response.headers:
        # Before version 2 urllib3 does not tell that a body breaks off.
        raise requests.exceptions.ChunkedEncodingError(f"{size} of {announced} bytes came")
    return size, digest.hexdigest()


def _sha256(path: str) -> str | None:
    """SHA-256 of a file, None when there is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
            return digest.hexdigest()
    except FileNotFoundError:
        return None
