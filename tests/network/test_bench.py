"""Every kind of measurement of the benchmark, made small: real programs between two hosts, rows, table and drawing."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as program
from bench import scale, sharing

Bench = Callable[..., list[dict[str, Any]]]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="namespaces and TAP devices need root"
)
RATE_MBIT = 20.0
HEADROOM = 1.1  # rates are taken between samples of two clocks
OURS = {"udpxfer": "udpxfer"}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Runs the benchmark's command line; returns the rows that it wrote, beside a table and a drawing."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(kind: str, *options: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["bench", *options, "--into", str(tmp_path)])
        assert program.main() == 0
        rows: list[dict[str, Any]] = json.loads((tmp_path / f"{kind}.json").read_text())["rows"]
        assert len(capsys.readouterr().out.strip().splitlines()) >= 3, "a table has a head and a row"
        assert (tmp_path / f"{kind}.svg").read_text().startswith("<svg")
        return rows

    return run


def test_sizes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SIZES", {"1KB": 1_000, "1MB": 1_000_000})
    monkeypatch.setattr(scale, "SIZES_OF", OURS)
    rows = bench("sizes", "--scale", "sizes", "--repeats", "2")
    assert [(row["bytes"], row["peer"], row["copies"]) for row in rows] == [
        (1_000, "udpxfer", 2),
        (1_000_000, "udpxfer", 2),
    ]
    assert all(0 < row["transfer_s"] < row["process_s"] for row in rows)


def test_round_trip_times(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "RTTS_MS", (0.0, 100.0))
    monkeypatch.setattr(scale, "RTT_BYTES", 10_000)
    monkeypatch.setattr(scale, "RTT_OF", OURS)
    rows = bench("rtt", "--scale", "rtt", "--repeats", "1")
    assert len(rows) == 2
    assert rows[1]["transfer_s"] >= 0.2  # the handshake and one flight


def test_sessions(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "SESSIONS", (1, 3))
    monkeypatch.setattr(scale, "SESSIONS_BYTES", 3_000_000)
    rows = bench("sessions", "--scale", "sessions", "--repeats", "1")
    assert [row["sessions"] for row in rows] == [1, 3]
    assert all(row["receiver_cpu_s"] > 0 and row["sender_cpu_s"] > 0 for row in rows)
    assert all(1 / row["sessions"] - 1e-6 <= row["jain_index"] <= 1 + 1e-6 for row in rows)


def test_goodput(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOSSES_PCT", (1.0,))
    monkeypatch.setattr(sharing, "RTTS_MS", (10.0,))
    monkeypatch.setattr(sharing, "STEADY_AFTER_S", 0.5)
    monkeypatch.setattr(sharing, "GOODPUT_S", 2.0)
    rows = bench("goodput", "--goodput", "--rate", str(RATE_MBIT))
    assert [row["flow"] for row in rows] == list(sharing.FLOWS)
    assert all(0 < row["mbit"] <= RATE_MBIT * HEADROOM for row in rows)


def test_fairness(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "QUEUES_BDP", (1.0,))
    monkeypatch.setattr(sharing, "SHARING_S", 2.0)
    (row,) = bench("fairness", "--fairness", "cubic", "--rate", str(RATE_MBIT))
    assert len(row["mbit"]) == 2
    assert min(row["mbit"]) > 0
    assert sum(row["mbit"]) <= RATE_MBIT * HEADROOM
