"""The log: whole lines, bounded, and never a reason to stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from udpxfer.events import FileLog


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
    log = FileLog("/dev/full")
    for number in range(1000):
        log.emit("something", number=number)
