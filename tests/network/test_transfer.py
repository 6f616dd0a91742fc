"""Files arrive, in every mode, over real sockets; and every failure is told with its code."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from udpxfer.modes import MODES

from .conftest import Outcome, ReceiverProcess, SendProcess, command, environment, receive_in_vain

MakeFile = Callable[[str, int], Path]
Send = Callable[..., Outcome]
StartReceiver = Callable[..., ReceiverProcess]
StartSend = Callable[..., SendProcess]
INTERRUPT_DEADLINE_S = 30.0


@pytest.mark.parametrize("mode", MODES)
def test_two_files_to_two_receivers(mode: str, start_receiver: StartReceiver, send: Send, make_file: MakeFile) -> None:
    first, second = start_receiver(), start_receiver()
    small, large = make_file("small", 300_000), make_file("large", 3_000_000)
    outcome = send(
        f"{small}={first.address}",
        f"{large}={second.address}",
        mode=mode,
        options=("--label", f"run/{mode}", "--sha256"),
    )
    assert outcome.status == 0, outcome.errors
    assert outcome.result["ok"] is True
    assert outcome.result["mode"] == mode
    for source, receiver, told in zip((small, large), (first, second), outcome.transfers, strict=True):
        stored = receiver.into / "run" / mode / source.name
        assert stored.read_bytes() == source.read_bytes()
        assert receiver.stop() == 0
        assert [path for path in receiver.into.rglob("*") if path.is_file()] == [stored]
        assert told["file"] == source.name
        assert told["verified"] is True
        assert told["bytes"] == source.stat().st_size
        assert told["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert told["start"] < told["end"]
        assert told["progress"][-1][1] == told["bytes"]
        assert told["progress"] == sorted(told["progress"])
    assert outcome.result["cpu_s"] > 0
    assert outcome.result["peak_memory_bytes"] >= max(told["peak_memory_bytes"] for told in outcome.transfers)


@pytest.mark.parametrize("mode", MODES)
def test_one_failure_hides_no_other_result(
    mode: str, receiver: ReceiverProcess, send: Send, make_file: MakeFile
) -> None:
    good = make_file("good", 100_000)
    outcome = send(f"/nowhere/bad={receiver.address}", f"{good}={receiver.address}", mode=mode)
    assert outcome.status == 1
    assert outcome.result["ok"] is False
    assert outcome.transfers[0]["error"]["code"] == "source_missing"
    assert outcome.transfers[1]["error"] is None
    assert (receiver.into / "good").read_bytes() == good.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 61_440, 61_441])
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0"])
def test_sizes_and_address_families(
    size: int, bind: str, start_receiver: StartReceiver, send: Send, make_file: MakeFile
) -> None:
    receiver = start_receiver(bind=bind)
    source = make_file("a file=with: odd \N{SNOWMAN} name", size)
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 0, outcome.errors
    assert (receiver.into / source.name).read_bytes() == source.read_bytes()


def test_many_sessions_at_once_on_one_receiver(receiver: ReceiverProcess, send: Send, make_file: MakeFile) -> None:
    sources = [make_file(f"file{index}", 50_000 + 10_000 * index) for index in range(24)]
    outcome = send(*(f"{source}={receiver.address}" for source in sources), mode="multi_thread")
    assert outcome.status == 0, outcome.errors
    for source in sources:
        assert (receiver.into / source.name).read_bytes() == source.read_bytes()


def test_a_terminal_shows_progress(receiver: ReceiverProcess, make_file: MakeFile, tmp_path: Path) -> None:
    source = make_file("file", 100_000)
    ours, theirs = pty.openpty()
    options = ("--mode", "single_thread", "--key-file", tmp_path / "key")
    ended = subprocess.run(
        command("send", *options, f"{source}={receiver.address}"),
        env=environment(),
        stdout=theirs,
        timeout=INTERRUPT_DEADLINE_S,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 65_536)
    os.close(ours)
    assert ended.returncode == 0
    assert b"file: 100 % of 0.1 MB" in shown


def test_a_rate_limit_is_kept(receiver: ReceiverProcess, send: Send, make_file: MakeFile) -> None:
    # Long enough for the first burst, two of the large datagrams that loopback takes, not to count.
    source = make_file("file", 4_000_000)
    outcome = send(f"{source}={receiver.address}", options=("--max-rate", "16mbit"))
    assert outcome.status == 0, outcome.errors
    assert outcome.transfers[0]["goodput_bytes_per_s"] <= 2_000_000 * 1.1


def test_an_existing_file_is_refused_and_kept(receiver: ReceiverProcess, send: Send, make_file: MakeFile) -> None:
    source = make_file("file", 1000)
    receiver.into.joinpath("file").write_bytes(b"precious")
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "file_exists"
    assert receiver.into.joinpath("file").read_bytes() == b"precious"


def test_limits_are_refused(start_receiver: StartReceiver, send: Send, make_file: MakeFile) -> None:
    receiver = start_receiver("--max-file-bytes", "1k")
    outcome = send(f"{make_file('file', 1001)}={receiver.address}")
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "file_too_large"
    assert list(receiver.into.iterdir()) == []


def test_another_key_and_nobody_there_end_at_the_deadline(
    tmp_path: Path, receiver: ReceiverProcess, make_file: MakeFile
) -> None:
    other, result = tmp_path / "other", tmp_path / "result"
    subprocess.run(command("keygen", other), env=environment(), check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{unused.getsockname()[1]}"
    source = make_file("file", 1000)
    options = ("--mode", "multi_thread", "--key-file", other, "--json", result)
    ended = subprocess.run(
        command("send", *options, f"{source}={receiver.address}", f"{source}={nobody}"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert [told["error"]["code"] for told in json.loads(result.read_text())["transfers"]] == ["no_answer"] * 2
    assert receiver.events("accepted") == receiver.events("refused") == []


def test_a_stopped_receiver_resumes(
    receiver: ReceiverProcess, send: Send, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 20_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="10m")
    receiver.wait_for_bytes(5_000_000)
    assert receiver.stop() == 0
    interrupted = sending.end()
    assert interrupted.status == 1
    assert interrupted.transfers[0]["error"]["code"] == "interrupted"
    assert not receiver.into.joinpath("file").exists()
    receiver.start()
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 0, outcome.errors
    assert outcome.transfers[0]["resumed_bytes"] > 0
    assert receiver.into.joinpath("file").read_bytes() == source.read_bytes()
    assert receiver.stop() == 0
    assert [path.name for path in receiver.into.iterdir()] == ["file"]


def test_a_killed_receiver_that_comes_back_gets_the_rest(
    receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    """The same `send` goes on: it offers the file again when it hears nothing."""
    source = make_file("file", 10_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="3m")
    receiver.wait_for_bytes(3_000_000)
    receiver.stop(signal.SIGKILL)
    assert not receiver.into.joinpath("file").exists()
    receiver.start()
    outcome = sending.end()
    assert outcome.status == 0, outcome.errors
    assert outcome.transfers[0]["verified"] is True
    assert outcome.transfers[0]["sessions"] == 2
    assert receiver.into.joinpath("file").read_bytes() == source.read_bytes()


def test_a_killed_sender_that_is_started_again_sends_only_the_rest(
    receiver: ReceiverProcess, send: Send, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 10_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="3m")
    receiver.wait_for_bytes(5_000_000)
    sending.kill()
    outcome = send(f"{source}={receiver.address}")
    assert outcome.status == 0, outcome.errors
    assert outcome.transfers[0]["resumed_bytes"] >= 4_000_000
    assert receiver.into.joinpath("file").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_sender_ends_soon_and_publishes_nothing(
    mode: str, receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 20_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="1m", mode=mode)
    receiver.wait_for_bytes(100_000)
    sending.process.send_signal(signal.SIGTERM)
    outcome = sending.end()
    assert outcome.status == 130
    assert "Traceback" not in outcome.errors
    assert outcome.transfers[0]["error"]["code"] == "interrupted"
    assert not receiver.into.joinpath("file").exists()


def test_a_source_that_changes_is_not_published(
    receiver: ReceiverProcess, start_send: StartSend, make_file: MakeFile
) -> None:
    source = make_file("file", 3_000_000)
    sending = start_send(f"{source}={receiver.address}", rate="1m")
    receiver.wait_for_bytes(500_000)
    with source.open("r+b") as file:
        file.seek(2_900_000)
        file.write(b"changed")
    outcome = sending.end()
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == "source_changed"
    deadline = time.monotonic() + INTERRUPT_DEADLINE_S
    while list(receiver.into.iterdir()):
        assert time.monotonic() < deadline, "the partial file of a changed source stays"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["send"], 2, None),
        (["send", "--mode", "no_mode", "--key-file", "k", "a=b:1"], 2, None),
        (["send", "--mode", "single_thread", "--key-file", "k", "no-assignment"], 2, None),
        (["send", "--mode", "single_thread", "--key-file", "missing", "a=b:1"], 1, "key_missing"),
        (["receive", "--bind", "nonsense", "--into", "d", "--key-file", "missing"], 1, "key_missing"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: list[str], status: int, code: str | None) -> None:
    ended = subprocess.run(
        command(*arguments), env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status
    assert ended.stderr
    if code:
        assert ended.stderr.startswith(f"udpxfer: {code}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("job", "options", "code"),
    [
        ("{source}=nonsense:port", (), "bad_address"),
        ("{source}=" + "a" * 64 + ":9000", (), "bad_address"),  # a label of a name has 63 characters at most
        ("{source}=" + "\u00e4" * 64 + ":9000", (), "bad_address"),
        ("{source}=127.0.0.1:9", ("--label", "../x"), "bad_label"),
        ("{folder}=127.0.0.1:9", (), "source_unreadable"),
    ],
)
def test_bad_jobs(
    job: str, options: tuple[str, ...], code: str, send: Send, make_file: MakeFile, tmp_path: Path
) -> None:
    outcome = send(job.format(source=make_file("file", 10), folder=tmp_path), options=options)
    assert outcome.status == 1
    assert outcome.transfers[0]["error"]["code"] == code


def test_a_port_in_use_is_told(receiver: ReceiverProcess, key: Path, tmp_path: Path) -> None:
    assert receive_in_vain(receiver.address, tmp_path / "other", key).startswith("udpxfer: bind_failed: ")
