"""One direction of an emulated link, with a clock and chances of the test's own: what becomes of each frame, and when."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Iterator
from itertools import groupby

import pytest
from alpinelab import link
from alpinelab.link import Direction, Links
from alpinelab.system import LabError

FRAME = bytes(1000)
COUNT = 20_000
SIGMAS = 5  # beyond: one run in 1.7 million


@pytest.fixture
def sink() -> Iterator[tuple[int, int]]:
    """A descriptor to write to and one to read what was written, frame by frame."""
    reading, writing = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    yield writing, reading
    os.close(reading)
    os.close(writing)


def arrivals(impairment: dict[str, float], rng: random.Random, gap_s: float = 0.001) -> list[tuple[float, int]]:
    """When frame n, taken at n * gap_s, is due: one entry for each copy that is."""
    direction = Direction(-1, -1, impairment)
    for number in range(COUNT):
        direction.accept(number.to_bytes(4, "big") + FRAME[4:], number * gap_s, rng.random)
    return [(due, int.from_bytes(frame[:4], "big")) for due, frame in direction.waiting]


def assert_binomial(found: int, count: int, chance: float) -> None:
    sigma = math.sqrt(count * chance * (1 - chance))
    assert abs(found - count * chance) <= SIGMAS * sigma


def test_perfect_link_loses_and_delays_nothing(rng: random.Random) -> None:
    assert Direction(-1, -1, {}).perfect
    assert arrivals({"delay_ms": 0}, rng) == [(number * 0.001, number) for number in range(COUNT)]


def test_delay_is_the_one_asked_for(rng: random.Random) -> None:
    assert all(math.isclose(due - number * 0.001, 0.05) for due, number in arrivals({"delay_ms": 50}, rng))


def test_jitter_stays_in_its_range_and_keeps_the_order(rng: random.Random) -> None:
    found = arrivals({"delay_ms": 50, "jitter_ms": 20}, rng)
    delays = [due - number * 0.001 for due, number in found]
    assert [number for _, number in found] == list(range(COUNT))
    assert min(delays) >= 0.03 - 1e-9
    assert max(delays) <= 0.07 + 1e-9
    assert max(delays) - min(delays) > 0.03  # of the 0.04 that it may vary
    assert found == sorted(found)


@pytest.mark.parametrize("percent", [0.5, 10, 100])
def test_random_loss(rng: random.Random, percent: float) -> None:
    assert_binomial(COUNT - len(arrivals({"loss_pct": percent}, rng)), COUNT, percent / 100)


def test_losses_come_in_bursts_of_the_length_asked_for(rng: random.Random) -> None:
    arrived = {number for _, number in arrivals({"loss_pct": 5, "burst": 4}, rng)}
    bursts = [len(list(run)) for lost, run in groupby(range(COUNT), lambda number: number not in arrived) if lost]
    # Expected 250 bursts; their lengths are geometric with mean 4, so their mean varies by sqrt(12 / 250) = 0.22,
    # and the share of lost frames by 5 % * sqrt(2 * 4 / 1000) = 0.45 %.
    assert abs(sum(bursts) / len(bursts) - 4) < SIGMAS * math.sqrt(12 / len(bursts))
    assert abs(sum(bursts) / COUNT - 0.05) < SIGMAS * 0.0045


def test_duplicates(rng: random.Random) -> None:
    found = arrivals({"duplicate_pct": 10}, rng)
    assert {number for _, number in found} == set(range(COUNT))
    assert_binomial(len(found) - COUNT, COUNT, 0.1)


def test_reordered_frames_overtake_the_delayed(rng: random.Random) -> None:
    found = arrivals({"delay_ms": 10, "reorder_pct": 10}, rng)
    early = [number for due, number in found if due - number * 0.001 < 0.005]
    assert_binomial(len(early), COUNT, 0.1)
    assert found == sorted(found, key=lambda entry: entry[0])
    assert {number for _, number in found} == set(range(COUNT))


def test_corruption_turns_one_bit_behind_the_ethernet_header(rng: random.Random) -> None:
    direction = Direction(-1, -1, {"corrupt_pct": 10})
    for _ in range(COUNT):
        direction.accept(FRAME, 0.0, rng.random)
    wrong = [frame for _, frame in direction.waiting if frame != FRAME]
    assert_binomial(len(wrong), COUNT, 0.1)
    assert {int.from_bytes(frame, "big").bit_count() for frame in wrong} == {1}
    assert all(frame[:14] == FRAME[:14] for frame in wrong)


def test_rate_spaces_frames_by_their_length(rng: random.Random) -> None:
    # 1000 bytes at 8 Mbit/s take 1 ms; offered twice as fast, with a queue for all of them.
    found = arrivals({"rate_mbit": 8, "queue_kb": 1_000_000}, rng, gap_s=0.0005)
    assert len(found) == COUNT
    assert all(math.isclose(due, (number + 1) * 0.001) for due, number in found)


def test_full_queue_drops_the_newest(rng: random.Random) -> None:
    found = arrivals({"rate_mbit": 8, "queue_kb": 10.5}, rng, gap_s=0)
    assert [number for _, number in found] == list(range(10))


def test_rate_without_load_adds_the_time_on_the_wire_only(rng: random.Random) -> None:
    found = arrivals({"rate_mbit": 80, "delay_ms": 1}, rng)
    assert all(math.isclose(due - number * 0.001, 0.0011) for due, number in found)


def test_change_counts_from_now_on(rng: random.Random) -> None:
    direction = Direction(-1, -1, {"delay_ms": 50})
    direction.accept(FRAME, 0.0, rng.random)
    direction.set({"delay_ms": 100})
    direction.accept(FRAME, 0.0, rng.random)
    assert [due for due, _ in direction.waiting] == [0.05, 0.1]
    direction.set({})
    assert direction.perfect
    assert len(direction.waiting) == 2


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Links]:
    """A relaying process that is stopped: it neither answers nor ends with its input."""
    monkeypatch.setattr(link, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(link, "END_TIMEOUT_S", 0.1)
    links = Links()
    os.kill(links._process.pid, signal.SIGSTOP)
    yield links
    links.close()


def test_a_stuck_relay_is_ended_and_told(stuck: Links) -> None:
    with pytest.raises(LabError, match="no answer within"):
        stuck.set({})
    assert stuck._process.wait(60) == -signal.SIGKILL


def test_closing_does_not_wait_for_a_stuck_relay(stuck: Links) -> None:
    stuck.close()
    assert stuck._process.returncode == -signal.SIGKILL


def test_due_frames_are_sent_and_no_others(sink: tuple[int, int], rng: random.Random) -> None:
    direction = Direction(-1, sink[0], {"delay_ms": 50})
    for number in range(3):
        direction.accept(bytes([number]), number * 0.01, rng.random)
    direction.send_due(0.0601)
    assert [os.read(sink[1], 100) for _ in range(2)] == [b"\0", b"\1"]
    with pytest.raises(BlockingIOError):
        os.read(sink[1], 100)
    assert [frame for _, frame in direction.waiting] == [b"\2"]
