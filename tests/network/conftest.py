"""The real program on loopback: receivers as processes, each with its own directory, port and log."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import network

from .proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 20.0
COMMAND_DEADLINE_S = 60.0
PERFECT = network.Path(delay_s=0.0)


@dataclasses.dataclass(frozen=True)
class System:
    """Where the program under test runs."""

    prefix: tuple[str, ...] = ()  # such as: ip netns exec NAME
    variant: str = ""  # a name in tests/network/variant.py: what this system lacks

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line of the program there."""
        program = ["-m", "tests.network.variant", self.variant] if self.variant else ["-m", "udpxfer"]
        return [*self.prefix, sys.executable, *program, *map(str, arguments)]


HERE = System()


def command(*arguments: str | Path) -> list[str]:
    """The command line of the program under test."""
    return HERE.command(*arguments)


def environment() -> dict[str, str]:
    """An environment in which the program is found."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'files'}{os.pathsep}{ROOT}"}


def receive_in_vain(bind: str, into: Path, key: Path) -> str:
    """What a receiver says that cannot start; it must end with status 1."""
    ended = subprocess.run(
        command("receive", "--bind", bind, "--into", into, "--key-file", key),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=START_DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 1
    return ended.stderr


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

    def __init__(
        self,
        folder: Path,
        key: Path,
        *options: str,
        bind: str = "127.0.0.1:0",
        into: Path | None = None,
        system: System = HERE,
    ) -> None:
        self.into = into or folder / "into"
        self._system = system
        self._log = folder / "log"
        self._options: list[str | Path] = ["--into", self.into, "--key-file", key, "--log", self._log, *options]
        self.address = bind
        self.start()

    def start(self) -> None:
        """Start (again) at the same address and wait until it listens."""
        seen = len(self.events("listening"))
        arguments = self._system.command("receive", "--bind", self.address, *self._options)
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

    def wait_for_bytes(self, count: int) -> None:
        """Wait until a partial file holds ``count`` written bytes (its size is reserved from the start); fails when it is too late."""
        deadline = time.monotonic() + COMMAND_DEADLINE_S
        while True:
            for part in self.into.glob(".udpxfer-*.part"):
                with contextlib.suppress(FileNotFoundError):
                    if len(part.read_bytes().rstrip(b"\0")) >= count:
                        return
            whole = [path.name for path in self.into.iterdir() if not path.name.startswith(".")]
            assert not whole, f"{whole} arrived before anybody could act: the rate is too high for this machine"
            assert time.monotonic() < deadline, "nothing arrives"
            time.sleep(0.02)

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

    def start(*options: str, **where: Any) -> ReceiverProcess:
        folder = tmp_path / f"receiver{next(_numbers)}"
        folder.mkdir()
        receiver = ReceiverProcess(folder, key, *options, **where)
        started.append(receiver)
        return receiver

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

    def __init__(
        self, folder: Path, key: Path, jobs: tuple[str, ...], mode: str, options: tuple[str, ...], system: System
    ) -> None:
        self._result = folder / f"result-{next(_numbers)}.json"
        arguments = system.command("send", "--mode", mode, "--key-file", key, "--json", self._result, *options, *jobs)
        self.process = subprocess.Popen(
            arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def end(self, deadline_s: float = COMMAND_DEADLINE_S) -> Outcome:
        """Wait for the end; returns how it ended."""
        try:
            _, errors = self.process.communicate(timeout=deadline_s)
        finally:
            self.process.kill()
        content = json.loads(self._result.read_text()) if self._result.exists() else {}
        return Outcome(self.process.returncode, errors, content)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate()


_numbers = itertools.count()


@pytest.fixture
def start_send(tmp_path: Path, key: Path) -> Iterator[Callable[..., SendProcess]]:
    """Starts `send` in the background, slowed down by ``rate``."""
    started: list[SendProcess] = []

    def start(*jobs: str, rate: str = "", mode: str = "single_thread", system: System = HERE) -> SendProcess:
        options = ("--max-rate", rate) if rate else ()
        sending = SendProcess(tmp_path, key, jobs, mode, options, system)
        started.append(sending)
        return sending

    yield start
    for sending in started:
        if sending.process.poll() is None:
            sending.kill()


@pytest.fixture
def send(tmp_path: Path, key: Path) -> Callable[..., Outcome]:
    """Runs `send` and returns how it ended."""

    def run(*jobs: str, mode: str = "single_thread", options: tuple[str, ...] = (), system: System = HERE) -> Outcome:
        return SendProcess(tmp_path, key, jobs, mode, options, system).end()

    return run


@pytest.fixture
def start_proxy(rng: random.Random) -> Iterator[Callable[..., Proxy]]:
    """Starts proxies that treat datagrams badly; a path not named is perfect."""
    started: list[Proxy] = []

    def start(receiver: ReceiverProcess, there: network.Path = PERFECT, back: network.Path = PERFECT) -> Proxy:
        started.append(Proxy(receiver.address, there, back, rng))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, int], Path]:
    """Makes a file of random bytes."""

    def make(name: str, size: int) -> Path:
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        return path

    return make
