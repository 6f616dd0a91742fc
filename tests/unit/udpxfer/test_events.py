"""The log: whole lines, bounded, and never a reason to stop."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from udpxfer.events import EventLog, FileLog, Terminal


def test_a_full_log_makes_room_and_keeps_whole_lines(tmp_path: Path) -> None:
    log = FileLog(str(tmp_path / "log"), limit=2000)
    log.emit("listening", number=-1)
    for number in range(100):
        log.emit("something", number=number)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4200
    lines = [*(tmp_path / "log.1").read_text().splitlines(), *(tmp_path / "log").read_text().splitlines()]
    assert [json.loads(path.read_text().splitlines()[0])["number"] for path in tmp_path.iterdir()] == [-1, -1]
    numbers = [number for line in lines if (number := json.loads(line)["number"]) >= 0]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_events_only() -> None:
    for log in (FileLog("/dev/full"), EventLog(os.open("/dev/full", os.O_WRONLY))):
        for number in range(1000):
            log.emit("something", number=number)


def test_a_terminal_that_lacks_letters_gets_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = tmp_path / "shown"
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    Terminal(os.open(shown, os.O_WRONLY | os.O_CREAT)).emit("accepted", name="日本")
    assert shown.read_text() == "accepted: name=\\u65e5\\u672c\n"
