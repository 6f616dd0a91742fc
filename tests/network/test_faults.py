"""The real program when its surroundings fail: killed and stopped at any moment, full and read-only disks, no descriptors, mad clocks."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import HERE, Outcome, ReceiverProcess, SendProcess, System, receive_in_vain

MakeFile = Callable[[str, int], Path]
Send = Callable[..., Outcome]
StartReceiver = Callable[..., ReceiverProcess]
StartSend = Callable[..., SendProcess]

ROUNDS_AT_ONCE = 3
RUNS_OF_A_SEND = 6
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


class Round:
    """One transfer during which one end is killed or stopped at a random moment; its user starts it again until it is done."""

    def __init__(
        self, number: int, rng: random.Random, receiver: ReceiverProcess, send: StartSend, source: Path
    ) -> None:
        self._receiver, self._send, self._source = receiver, send, source
        self._victim = rng.choice(("sender", "receiver"))
        self._signal = rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        self._moment_s, self._stopped_s = rng.uniform(0, 1.2), rng.choice((0.2, 1.0, 6.0))
        self.story = f"round {number}: {self._signal.name} to the {self._victim} after {self._moment_s:.3f} s"

    def play(self) -> None:
        sending = self._start()
        time.sleep(self._moment_s)
        victim = sending.process if self._victim == "sender" else self._receiver.process
        if victim.poll() is None:
            victim.send_signal(self._signal)
        if self._signal is signal.SIGSTOP:
            time.sleep(self._stopped_s)
            if victim.poll() is None:
                victim.send_signal(signal.SIGCONT)
        elif self._victim == "receiver":
            self._receiver.stop(signal.SIGKILL)
            self._check()
            self._receiver.start()
        self._finish(sending)

    def _start(self) -> SendProcess:
        return self._send(f"{self._source}={self._receiver.address}", rate="5m")

    def _finish(self, sending: SendProcess) -> None:
        for _ in range(RUNS_OF_A_SEND):
            ended = sending.end()
            self._check()
            if ended.result.get("ok"):  # whatever happened to the process after it was told
                break
            told = ended.transfers[0]["error"]["code"] if ended.result else "killed"
            assert told in ("killed", "file_exists", "busy", "peer_silent", "no_answer"), f"{self.story}: {told}"
            if told == "file_exists":  # the first sender was killed between the last message and its end
                break
            sending = self._start()
        published = self._receiver.into / self._source.name
        assert published.read_bytes() == self._source.read_bytes(), self.story

    def _check(self) -> None:
        published = self._receiver.into / self._source.name
        assert not published.exists() or published.read_bytes() == self._source.read_bytes(), self.story


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_or_stopped_at_any_moment(
    rounds: int, rng: random.Random, start_receiver: StartReceiver, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 3_000_000)

    seeds = [rng.random() for _ in range(rounds)]

    def play(number: int) -> None:
        receiver = start_receiver()
        Round(number, random.Random(f"{seeds[number]}"), receiver, start_send, source).play()
        assert receiver.stop() == 0
        # The journal of a file whose CLOSE was lost stays for the next receiver (docs/protocol.md).
        assert [path.name for path in receiver.into.iterdir() if path.suffix != ".journal"] == [source.name]

    with concurrent.futures.ThreadPoolExecutor(ROUNDS_AT_ONCE) as pool:
        list(pool.map(play, range(rounds)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "udpxfer-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@needs_root
def test_a_disk_too_small_for_the_file(
    small_disk: Path, start_receiver: StartReceiver, send: Send, make_file: MakeFile
) -> None:
    receiver = start_receiver(into=small_disk / "into")
    outcome = send(f"{make_file('file', 9_000_000)}={receiver.address}")
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "disk_full"
    assert list(receiver.into.iterdir()) == []


@needs_root
def test_a_disk_that_has_room_for_one_of_two_files(
    small_disk: Path, start_receiver: StartReceiver, start_send: StartSend, send: Send, make_file: MakeFile
) -> None:
    """What did not fit leaves nothing behind, so that it fits as soon as there is room."""
    receiver = start_receiver(into=small_disk / "into")
    sources = [make_file(f"file{index}", 5_000_000) for index in range(2)]
    outcomes = [
        sending.end() for sending in [start_send(f"{source}={receiver.address}", rate="5m") for source in sources]
    ]
    assert sorted(outcome.status for outcome in outcomes) == [0, 1]
    (failed,) = (index for index, outcome in enumerate(outcomes) if outcome.status)
    assert outcomes[failed].transfers[0]["error"]["code"] == "disk_full"
    arrived = receiver.into / sources[1 - failed].name
    assert arrived.read_bytes() == sources[1 - failed].read_bytes()
    arrived.unlink()
    assert send(f"{sources[failed]}={receiver.address}").status == 0
    assert (receiver.into / sources[failed].name).read_bytes() == sources[failed].read_bytes()


@needs_root
def test_a_disk_that_others_fill_during_the_transfer(
    small_disk: Path, start_receiver: StartReceiver, start_send: StartSend, make_file: MakeFile
) -> None:
    """The space was reserved before the first byte: the transfer does not notice."""
    receiver = start_receiver(into=small_disk / "into")
    source = make_file("file", 4_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="1m")
    receiver.wait_for_bytes(500_000)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "other").write_bytes(bytes(8_000_000))
    outcome = sending.end()
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / "file").read_bytes() == source.read_bytes()


@needs_root
def test_a_target_that_becomes_read_only(
    small_disk: Path, start_receiver: StartReceiver, send: Send, make_file: MakeFile
) -> None:
    receiver = start_receiver(into=small_disk / "into")
    source = make_file("file", 100_000)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "store_failed"
    said = receive_in_vain("127.0.0.1:0", small_disk / "into", source.parent / "key")
    assert said.startswith("udpxfer: store_failed: ")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert send(f"{source}={receiver.address}").status == 0
    assert (receiver.into / "file").read_bytes() == source.read_bytes()


def test_a_receiver_without_free_descriptors(start_receiver: StartReceiver, send: Send, make_file: MakeFile) -> None:
    """Each transfer holds three or four; those that get none fail with a code, and the receiver goes on."""
    receiver = start_receiver(system=System(prefix=("prlimit", "--nofile=32:32")))
    sources = [make_file(f"file{index:02}", 400_000) for index in range(16)]
    jobs = [f"{source}={receiver.address}" for source in sources]
    outcome = send(*jobs, mode="multi_thread", options=("--max-rate", "400k"))
    failed = [told for told in outcome.transfers if told["error"]]
    assert failed
    assert {told["error"]["code"] for told in failed} == {"store_failed"}
    for source, told in zip(sources, outcome.transfers, strict=True):
        assert (receiver.into / source.name).exists() == told["verified"]
    again = send(*(job for job, told in zip(jobs, outcome.transfers, strict=True) if told["error"]))
    assert again.status == 0, again.errors
    for source in sources:
        assert (receiver.into / source.name).read_bytes() == source.read_bytes()


CENTURIES = System(prefix=("unshare", "--time", "--monotonic=3000000000"))
CLOCKS = {"a wall clock that jumps": System(variant="jumping-clock"), "a machine that is up since a century": CENTURIES}


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_mad_clocks(name: str, end: str, start_receiver: StartReceiver, send: Send, make_file: MakeFile) -> None:
    """The wall clock is patched (it has no namespace), the monotonic one is that of a time namespace."""
    if CLOCKS[name] is CENTURIES and os.geteuid() != 0:
        pytest.skip("time namespaces need root")
    receiver = start_receiver(system=CLOCKS[name] if end == "receiver" else HERE)
    source = make_file("file", 2_000_000)
    outcome = send(f"{source}={receiver.address}", system=CLOCKS[name] if end == "sender" else HERE)
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / "file").read_bytes() == source.read_bytes()
    assert 0 < outcome.transfers[0]["seconds"] < 30


def test_a_source_that_is_truncated_while_it_is_sent(
    receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 3_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="1m")
    receiver.wait_for_bytes(500_000)
    os.truncate(source, 1_000_000)
    outcome = sending.end()
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "source_changed"
    receiver.stop()
    assert list(receiver.into.iterdir()) == []
