"""The core over hostile virtual networks: what is published equals the source, and every run ends."""

from __future__ import annotations

import random

import pytest
from udpxfer.core.geometry import RECORD_BYTES
from udpxfer.core.sender import State

from .network import Path, Transfer

DEADLINE_S = 600.0
SIZES = (0, 1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 1_000_000, 5_000_003)
HOSTILE = {
    "clean": Path(),
    "lan": Path(delay_s=0.0001),
    "satellite": Path(delay_s=0.3, jitter_s=0.02, loss=0.01),
    "lossy": Path(delay_s=0.02, loss=0.1),
    "very lossy": Path(delay_s=0.02, loss=0.3),
    "reordering": Path(delay_s=0.005, jitter_s=0.05),
    "repeating": Path(delay_s=0.01, duplicate=0.3),
    "corrupting": Path(delay_s=0.01, corrupt=0.005),
    "slow": Path(delay_s=0.02, rate=250_000, queue_bytes=20_000),
    "everything": Path(delay_s=0.03, jitter_s=0.02, loss=0.05, duplicate=0.05, corrupt=0.002, rate=2_000_000),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", HOSTILE)
def test_published_equals_source(name: str, size: int, seed: int) -> None:
    path = HOSTILE[name]
    content = random.Random(seed).randbytes(size)
    transfer = Transfer(content, random.Random(seed).choice((1200, 1452, 1472, 8972, 61_472)), path, path, seed)
    transfer.run(DEADLINE_S)
    assert transfer.sender.state is State.DONE
    assert transfer.published == content


def test_a_clean_path_needs_no_repeats(seed: int) -> None:
    transfer = Transfer(random.Random(seed).randbytes(3_000_000), 1472, Path(), Path(), seed)
    transfer.run(DEADLINE_S)
    assert transfer.sender.statistics.retransmitted_datagrams == 0
    assert transfer.receiver.statistics.duplicates == 0


def test_a_dead_path_ends_with_an_error(seed: int) -> None:
    transfer = Transfer(b"x" * 100_000, 1472, Path(loss=1.0), Path(), seed)
    transfer.run(DEADLINE_S)
    assert transfer.sender.state is State.FAILED
    assert transfer.sender.failure is not None
    assert transfer.sender.failure.code.label == "peer_silent"
    assert transfer.published is None


def test_probes_back_off(seed: int) -> None:
    """RFC 8085 section 3.1.1: nobody answers, so the sender becomes quieter and quieter."""
    transfer = Transfer(b"x" * 100_000, 1472, Path(), Path(loss=1.0), seed)
    transfer.run(DEADLINE_S)
    assert transfer.sender.statistics.probes < 40


def test_segmented_sends_that_vanish_are_noticed(seed: int) -> None:
    content = random.Random(seed).randbytes(500_000)
    transfer = Transfer(content, 1472, Path(), Path(), seed)
    transfer.swallow_segmented = True
    transfer.run(DEADLINE_S)
    assert transfer.published == content
    assert transfer.sender.statistics.probes < 10


def test_a_small_image_over_a_long_path_takes_three_and_a_half_round_trips(seed: int) -> None:
    """After the handshake's round trip: 10, 20 and 40 segments in three flights of an initial window of 10 (RFC 6928)."""
    delay_s = 0.05
    transfer = Transfer(random.Random(seed).randbytes(100_000), 1472, Path(delay_s), Path(delay_s), seed)
    transfer.run(DEADLINE_S)
    assert transfer.sender.state is State.DONE
    assert transfer.clock.now <= 3.5 * 2 * delay_s


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("failed", [4187989213])
def test_seeds_that_failed_once(name: str, failed: int) -> None:
    """4187989213: one altered header made the receiver acknowledge a send that never was, and the sender deaf."""
    path = HOSTILE[name]
    content = random.Random(failed).randbytes(5_000_003)
    transfer = Transfer(content, random.Random(failed).choice((1200, 1452, 1472, 8972, 61_472)), path, path, failed)
    transfer.run(DEADLINE_S)
    assert transfer.published == content
