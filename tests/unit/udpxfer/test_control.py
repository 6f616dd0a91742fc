"""Recovery, pacing and congestion control: the numbers that their sources ask for."""

from __future__ import annotations

import pytest
from udpxfer.core.congestion import INITIAL_WINDOW_SEGMENTS, Congestion, Phase
from udpxfer.core.pacing import BURST_S, Pacer
from udpxfer.core.recovery import ANSWER_ALLOWANCE_S, MAX_PROBE_INTERVAL_S, RoundTrip

BUFFER_BYTES = 8_000_000


def test_round_trip_follows_rfc_9002() -> None:
    rtt = RoundTrip(0.1)
    assert (rtt.smoothed, rtt.variation) == (0.1, 0.05)
    rtt.update(0.2)
    assert rtt.smoothed == pytest.approx(0.1 * 7 / 8 + 0.2 / 8)
    assert rtt.variation == pytest.approx(0.05 * 3 / 4 + 0.1 / 4)
    assert rtt.smallest == 0.1
    assert rtt.loss_delay() == pytest.approx(9 / 8 * 0.2)


def test_probe_timeout_doubles_up_to_its_bound() -> None:
    rtt = RoundTrip(0.1)
    first = rtt.probe_timeout(0)
    assert first == pytest.approx(0.1 + 4 * 0.05 + ANSWER_ALLOWANCE_S)
    assert rtt.probe_timeout(1) == pytest.approx(2 * first)
    assert rtt.probe_timeout(20) == MAX_PROBE_INTERVAL_S
    assert RoundTrip(10.0).probe_timeout(5) >= 10.0


def test_the_pacer_keeps_the_rate_and_bounds_bursts() -> None:
    pacer, now, sent = Pacer(0.0, 1e6, 5000), 0.0, 0
    while now < 1.0:
        wait = pacer.delay(now)
        if wait:
            now += wait + 1e-9
        else:
            pacer.spend(1000)
            sent += 1000
    assert sent == pytest.approx(1e6, rel=0.01)
    now += 10.0  # an idle pause earns one burst, no more
    burst = 0
    while not pacer.delay(now):
        pacer.spend(1000)
        burst += 1000
    assert burst <= max(1e6 * BURST_S, 5000) + 1000


def test_the_initial_window_is_ten_segments_and_never_floods_a_small_buffer() -> None:
    assert Congestion(0.0, 0.1, 1472, BUFFER_BYTES).window == INITIAL_WINDOW_SEGMENTS * 1472
    assert Congestion(0.0, 0.1, 1472, 8192).window <= 8192 // 2
    assert Congestion(0.0, 0.1, 61_472, BUFFER_BYTES).window <= 2 * 61_472


def drive(congestion: Congestion, bottleneck: float, rtt_s: float, seconds: float) -> None:
    """Acknowledge what a path with this bottleneck would deliver, a millisecond at a time."""
    now, end, round_end = 0.0, seconds, 0.0
    while now < end:
        now += 0.001
        rate = min(congestion.rate, congestion.window / rtt_s, bottleneck)
        new_round = now >= round_end
        if new_round:
            round_end = now + rtt_s
        flying = int(min(congestion.window, congestion.rate * rtt_s))
        congestion.on_ack(now, int(rate * 0.001), 0, flying, rate, False, rtt_s, new_round)


def test_it_finds_the_bottleneck_and_stays_there() -> None:
    congestion = Congestion(0.0, 0.05, 1472, BUFFER_BYTES)
    drive(congestion, 12.5e6, 0.05, 5.0)
    assert congestion.bandwidth == pytest.approx(12.5e6, rel=0.01)
    assert congestion._phase in (Phase.PROBE_BANDWIDTH, Phase.PROBE_RTT)
    assert congestion.rate <= 1.25 * 12.5e6 + 1


def test_max_rate_is_never_exceeded() -> None:
    congestion = Congestion(0.0, 0.05, 1472, BUFFER_BYTES, max_rate=1e6)
    assert congestion.rate <= 1e6
    drive(congestion, 12.5e6, 0.05, 2.0)
    assert congestion.rate <= 1e6


def test_silence_shrinks_the_window() -> None:
    congestion = Congestion(0.0, 0.05, 1472, BUFFER_BYTES)
    drive(congestion, 12.5e6, 0.05, 2.0)
    congestion.on_probe_timeout(1)
    assert congestion.window > 100_000
    congestion.on_probe_timeout(2)
    assert congestion.window == 4 * 1472
