"""The real program on loopback: receivers as processes, each with its own directory, port and log."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGES = Path(__file__).resolve().parents[2] / "files"
START_DEADLINE_S = 20.0
COMMAND_DEADLINE_S = 60.0


def command(*arguments: str | Path) -> list[str]:
    """The command line of the program under test."""
    return [sys.executable, "-m", "udpxfer", *map(str, arguments)]


def environment() -> dict[str, str]:
    """An environment in which the program is found."""
    return {**os.environ, "PYTHONPATH": str(PACKAGES)}


@dataclasses.dataclass
class Outcome:
    """Exit status and results of a `send`."""

    status: int
    errors: str
    result: dict[str, Any]

    @property
    def transfers(self) -> list[dict[str, Any]]:
        """The results, one for each file."""
        transfers: list[dict[str, Any]] = self.result["transfers"]
        return transfers


class ReceiverProcess:
    """A running receiver."""

    def __init__(self, folder: Path, key: Path, *options: str, bind: str = "127.0.0.1:0") -> None:
        self.into = folder / "into"
        self._log = folder / "log"
        self._options: list[str | Path] = ["--into", self.into, "--key-file", key, "--log", self._log, *options]
        self.address = bind
        self.start()

    def start(self) -> None:
        """Start (again) at the same address and wait until it listens."""
        seen = len(self.events("listening"))
        arguments = command("receive", "--bind", self.address, *self._options)
        self.process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + START_DEADLINE_S
        while len(listening := self.events("listening")) == seen:
            assert self.process.poll() is None, "the receiver ended at once"
            assert time.monotonic() < deadline, "the receiver does not listen"
            time.sleep(0.01)
        self.address = listening[-1]["address"]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one name in the log."""
        if not self._log.exists():
            return []
        # The last line may still be being written.
        lines = self._log.read_text().split("\n")[:-1]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the receiver with a signal; returns its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(START_DEADLINE_S)
        if self.process.stderr is not None:
            self.process.stderr.close()
        return status


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key file."""
    path = tmp_path / "key"
    subprocess.run(command("keygen", path), env=environment(), check=True)
    return path


@pytest.fixture
def start_receiver(tmp_path: Path, key: Path) -> Iterator[Callable[..., ReceiverProcess]]:
    """Starts receivers; they are stopped after the test."""
    started: list[ReceiverProcess] = []

    def start(*options: str, bind: str = "127.0.0.1:0") -> ReceiverProcess:
        folder = tmp_path / f"receiver{len(started)}"
        folder.mkdir()
        started.append(ReceiverProcess(folder, key, *options, bind=bind))
        return started[-1]

    yield start
    for receiver in started:
        if receiver.process.poll() is None:
            receiver.stop(signal.SIGKILL)


@pytest.fixture
def receiver(start_receiver: Callable[..., ReceiverProcess]) -> ReceiverProcess:
    """A running receiver without limits."""
    return start_receiver()


class SendProcess:
    """A `send` that runs in the background."""

    def __init__(self, folder: Path, key: Path, jobs: tuple[str, ...], mode: str, options: tuple[str, ...]) -> None:
        self._result = folder / "result.json"
        self._result.unlink(missing_ok=True)
        arguments = command("send", "--mode", mode, "--key-file", key, "--json", self._result, *options, *jobs)
        self.process = subprocess.Popen(
            arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> Outcome:
        """Wait for the end; returns how it ended."""
        _, errors = self.process.communicate(timeout=COMMAND_DEADLINE_S)
        content = json.loads(self._result.read_text()) if self._result.exists() else {}
        return Outcome(self.process.returncode, errors, content)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_send(tmp_path: Path, key: Path) -> Callable[..., SendProcess]:
    """Starts `send` in the background, slowed down by ``rate``."""

    def start(*jobs: str, rate: str, mode: str = "single_thread") -> SendProcess:
        return SendProcess(tmp_path, key, jobs, mode, ("--max-rate", rate))

    return start


@pytest.fixture
def send(tmp_path: Path, key: Path) -> Callable[..., Outcome]:
    """Runs `send` and returns how it ended."""

    def run(*jobs: str, mode: str = "single_thread", options: tuple[str, ...] = ()) -> Outcome:
        return SendProcess(tmp_path, key, jobs, mode, options).end()

    return run


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a file of random bytes."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        return path

    return make
