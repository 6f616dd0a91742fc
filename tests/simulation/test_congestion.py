"""Congestion control on a shared bottleneck: ratios in virtual time, equal on every machine.

`docs/performance.md` shows the same with real sockets and real TCP.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from udpxfer.core.receiver import Burst

from bench.sharing import jain_index

from .bottleneck import DATAGRAM_BYTES, MTU_BYTES, Bottleneck, CoreFlow, CubicFlow, Flow, Simulation

SEED = 1
RATE = 10e6 / 8  # bytes per second
RTT_S = 0.05


class Shared:
    """A bottleneck of RATE with a queue of ``queue_bdp`` bandwidth-delay products."""

    def __init__(self, queue_bdp: float = 1.0, rtt_s: float = RTT_S, loss: float = 0.0, seed: int = SEED) -> None:
        self.rng = random.Random(seed)
        self.simulation = Simulation()
        self.bottleneck = Bottleneck(self.simulation, self.rng, RATE, queue_bdp * RATE * rtt_s, loss)
        self._rtt_s, self._loss = rtt_s, loss
        self.flows: list[Flow] = []

    def core(self, start_s: float = 0.0, file_bytes: int = 10**10) -> CoreFlow:
        flow = CoreFlow(self.simulation, self.bottleneck, self._rtt_s, file_bytes, self._loss, self.rng)
        self._start(flow, start_s)
        return flow

    def cubic(self, start_s: float = 0.0) -> CubicFlow:
        flow = CubicFlow(self.simulation, self.bottleneck, self._rtt_s)
        self._start(flow, start_s)
        return flow

    def _start(self, flow: Flow, start_s: float) -> None:
        self.flows.append(flow)
        self.simulation.at(start_s, flow.start)

    def rates(self, from_s: float, to_s: float) -> list[float]:
        """What each flow delivers per second between two times."""
        self.simulation.run(from_s)
        before = [flow.delivered_bytes for flow in self.flows]
        self.simulation.run(to_s)
        return [(f.delivered_bytes - b) / (to_s - from_s) for f, b in zip(self.flows, before, strict=True)]


@pytest.mark.parametrize("rtt_s", [0.05, 0.1])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1])
def test_random_loss_costs_little_more_than_what_is_lost(loss: float, rtt_s: float) -> None:
    shared = Shared(rtt_s=rtt_s, loss=loss)
    shared.core()
    (rate,) = shared.rates(3.0, 20.0)
    assert rate >= 0.8 * RATE * (1 - loss) * DATAGRAM_BYTES / MTU_BYTES


@pytest.mark.parametrize("queue_bdp", [0.5, 1.0, 4.0])
def test_alone_on_a_clean_link_it_does_not_stop_to_look_how_long_the_path_is(queue_bdp: float) -> None:
    """It once did, every ten seconds, although each emptied queue had just shown it: 97 % of the link were left."""
    shared = Shared(queue_bdp)
    shared.core()
    (rate,) = shared.rates(3.0, 33.0)
    assert rate >= 0.98 * RATE


@pytest.mark.parametrize("queue_bdp", [0.5, 1.0, 4.0])
def test_shares_with_tcp_cubic(queue_bdp: float) -> None:
    shared = Shared(queue_bdp)
    shared.core()
    shared.cubic(0.1)
    rates = shared.rates(0.0, 60.0)
    assert jain_index(rates) >= 0.8
    assert sum(rates) >= 0.9 * RATE


def test_gives_way_to_tcp_cubic_that_comes_later() -> None:
    shared = Shared()
    shared.core()
    shared.cubic(10.0)
    assert jain_index(shared.rates(20.0, 80.0)) >= 0.8


@pytest.mark.parametrize("queue_bdp", [0.5, 4.0])
def test_own_flows_share_equally_whenever_they_start(queue_bdp: float) -> None:
    """The last one once took all: it learnt as the path's own loss what its start made the others lose."""
    shared = Shared(queue_bdp)
    for start in range(4):
        shared.core(5.0 * start)
    rates = shared.rates(15.0, 60.0)
    assert jain_index(rates) >= 0.9
    assert sum(rates) >= 0.9 * RATE


@pytest.mark.parametrize("seed", [4, 9])
def test_own_flows_share_a_queue_that_is_empty_now_and_then(seed: int) -> None:
    """With seed 4 two of them once took the losses of such a queue for the path's own, and left the others a tenth."""
    shared = Shared(0.5, seed=seed)
    for _ in range(4):
        shared.core(shared.rng.uniform(0.0, 12.0))
    assert jain_index(shared.rates(15.0, 60.0)) >= 0.95


def test_alone_the_queue_stays_short() -> None:
    shared = Shared(queue_bdp=4.0)
    flow = shared.core()
    (rate,) = shared.rates(3.0, 20.0)
    assert rate >= 0.9 * RATE
    assert flow.sender.round_trip.smoothed <= 1.25 * RTT_S


def test_the_start_overruns_the_queue_by_little() -> None:
    """Self-made loss at the start is the commonest disease of bulk UDP."""
    shared = Shared(queue_bdp=1.0)
    shared.core()
    shared.simulation.run(1.0)
    assert shared.bottleneck.dropped * MTU_BYTES <= 1.5 * RATE * RTT_S


def test_a_file_takes_little_longer_than_its_bytes() -> None:
    shared = Shared(rtt_s=0.1, loss=0.05)
    flow = shared.core(file_bytes=5_000_000)
    shared.simulation.run(60.0)
    assert flow.ended_at is not None
    assert flow.ended_at <= 5_000_000 / (RATE * 0.95) + 12 * 0.1


def test_repairs_leave_twice_when_nothing_new_is_left() -> None:
    """Losing the repair of the last segments again would cost one more round trip."""
    shared = Shared()
    flow = shared.core(file_bytes=12 * DATAGRAM_BYTES)
    losses = iter([True, False, True])
    send = shared.bottleneck.send
    sent = []

    def lossy(size: int, delay_s: float, deliver: Callable[..., None], burst: Burst) -> None:
        sent.append(burst.headers[1])
        if not next(losses, False):
            send(size, delay_s, deliver, burst)

    shared.bottleneck.send = lossy  # type: ignore[method-assign, assignment]
    shared.simulation.run(1.0)
    assert flow.ended_at is not None
    counts = Counter(sent)
    assert sorted(counts) == list(range(13))
    assert {segment: count for segment, count in counts.items() if count > 1} == {0: 3, 2: 3}


def test_the_neighbour_is_fair_to_its_like() -> None:
    """The CUBIC model is worth nothing as a yardstick unless two of them share equally and fill the link."""
    shared = Shared()
    shared.cubic()
    shared.cubic(0.1)
    rates = shared.rates(0.0, 60.0)
    assert jain_index(rates) >= 0.9
    assert sum(rates) >= 0.9 * RATE


def test_the_neighbour_suffers_from_random_loss() -> None:
    """RFC 9438 section 5.2: at one percent of loss CUBIC is Reno, whose window is about 1.2 / sqrt(loss) segments."""
    shared = Shared(rtt_s=0.1, loss=0.01)
    shared.cubic()
    (rate,) = shared.rates(5.0, 65.0)
    assert rate == pytest.approx(1.2 / 0.1 * MTU_BYTES / 0.1, rel=0.35)
