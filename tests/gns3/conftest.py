"""GNS3 machines for the tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gns3 import programs
from tests.gns3.machine import Machine, discard


@pytest.fixture(scope="module", params=programs.SERVERS)
def version(request: pytest.FixtureRequest) -> str:
    """GNS3's version: v3 or v2."""
    return str(request.param)


@pytest.fixture(scope="module")
def machine(version: str) -> Iterator[Machine]:
    """A machine for a server of this version, on which nothing runs yet; its files are on the project's disk, as Docker's layers go on no other overlay."""
    assert version
    if os.geteuid() != 0:
        pytest.fail("a GNS3 machine in namespaces needs root", pytrace=False)
    programs.CACHE.mkdir(parents=True, exist_ok=True)
    for abandoned in programs.CACHE.glob("machine-*"):  # by tests that were killed
        if not Path("/proc", abandoned.name.split("-")[1]).exists():
            discard(abandoned)
    folder = Path(tempfile.mkdtemp(prefix=f"machine-{os.getpid()}-", dir=programs.CACHE))
    try:
        with Machine.running(folder) as running:
            yield running
    finally:
        discard(folder)
