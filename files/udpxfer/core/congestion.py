"""Congestion control after BBR: a model of the path's bandwidth and round-trip time decides rate and window.

Source: Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016, and draft-cardwell-iccrg-bbr-
congestion-control-00 (gains, cycle, ProbeRTT). Bandwidth is taken from the receiver's own clock, so compressed
acknowledgements do not inflate it. What stands in the receiver's socket buffer is bounded by that buffer's real size.
"""

from __future__ import annotations

import enum
from collections import deque

from .geometry import MAX_DATAGRAM_BYTES

INITIAL_WINDOW_SEGMENTS = 10
"""RFC 6928."""
MIN_WINDOW_SEGMENTS = 4
STARTUP_GAIN = 2.885
"""2 / ln 2: the smallest gain that doubles the delivery rate each round."""
CYCLE_GAINS = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
WINDOW_GAIN = 2.0
HOST_DELAY_S = 0.002
"""Hosts are no clocks: an acknowledgement may be this late because of them. Pacing keeps the network's queue short."""
BANDWIDTH_ROUNDS = 10
BANDWIDTH_WINDOW_S = 0.2
"""A delivery rate counts for ten rounds, and at least this long: a busy host must not look like a slow network."""
MIN_RTT_WINDOW_S = 10.0
PROBE_RTT_S = 0.2
FULL_GROWTH = 1.25
FULL_ROUNDS = 3
QUANTUM_S = 0.001
"""One send carries about this much time of sending, at most a record."""


class Phase(enum.Enum):
    """The phases of BBR."""

    STARTUP = "startup"
    DRAIN = "drain"
    PROBE_BANDWIDTH = "probe_bandwidth"
    PROBE_RTT = "probe_rtt"


class Congestion:
    """Rate (bytes per second) and window (bytes in flight) of one transfer.

    ``receive_buffer_bytes`` is what the peer's socket buffer holds, ``max_rate`` an upper bound in bytes per second.
    """

    def __init__(
        self,
        now: float,
        rtt_s: float,
        datagram_bytes: int,
        receive_buffer_bytes: int,
        max_rate: float | None = None,
    ) -> None:
        self._datagram_bytes = datagram_bytes
        self._buffer_share = max(receive_buffer_bytes // 2, 2 * datagram_bytes)
        self._max_rate = max_rate
        self._phase = Phase.STARTUP
        self._bandwidths: deque[tuple[int, float, float]] = deque()  # (round, time, bytes/s), rates falling
        self._rounds = 0
        self._full_bandwidth = 0.0
        self._full_count = 0
        self._cycle = 0
        self._cycle_start = now
        self._min_rtt = rtt_s
        self._min_rtt_at = now
        self._probe_rtt_until = 0.0
        initial = INITIAL_WINDOW_SEGMENTS * min(datagram_bytes, 1472)
        self._window = float(max(min(initial, self._buffer_share // 2), 2 * datagram_bytes))
        self.rate = 0.0
        """Sending rate in bytes per second."""
        self.window = 0
        """Bytes that may be in flight."""
        self.quantum = 0
        """Bytes that one send carries: about QUANTUM_S of sending, at least two segments, at most a record."""
        self._refresh()

    @property
    def bandwidth(self) -> float:
        """The highest delivery rate of the last rounds in bytes per second; 0 before the first sample."""
        return self._bandwidths[0][2] if self._bandwidths else 0.0

    @property
    def phase(self) -> Phase:
        """Where the state machine stands."""
        return self._phase

    def on_ack(
        self,
        now: float,
        acked_bytes: int,
        in_flight: int,
        rate: float,
        app_limited: bool,
        rtt_s: float,
        new_round: bool,
    ) -> None:
        """An acknowledgement arrived.

        ``rate`` is the delivery rate it shows (bytes/s, 0 when unknown), ``app_limited`` that the sender had nothing more
        to send then, ``new_round`` that a round trip of at least HOST_DELAY_S is over.
        """
        self._rounds += new_round
        self._update_bandwidth(now, rate, app_limited)
        self._update_min_rtt(now, rtt_s, in_flight)
        if new_round and self._phase is Phase.STARTUP and not app_limited:
            self._check_full()
        self._step(now, in_flight)
        target = WINDOW_GAIN * self.bandwidth * (self._min_rtt + HOST_DELAY_S) + 3 * self.quantum
        if self._phase is Phase.STARTUP:
            self._window += acked_bytes
        else:
            self._window = max(min(self._window + acked_bytes, target), float(self._floor()))
        self._refresh()

    def on_probe_timeout(self, backoff: int) -> None:
        """Nothing was heard for ``backoff`` probe timeouts: fall back to the smallest window (RFC 8085 section 3.1)."""
        if backoff >= 2:
            self._window = float(self._floor())
            self._refresh()

    def _refresh(self) -> None:
        """Work out rate, window and quantum once for all sends until the next acknowledgement."""
        bandwidth = self.bandwidth
        rate = self._gain() * bandwidth
        if self._phase is Phase.STARTUP:
            # Samples lag behind the window while it doubles; so its first rate (BBR's initial one) grows with it.
            rate = max(rate, STARTUP_GAIN * self._window / max(self._min_rtt, 0.0005))
        if self._max_rate is not None:
            rate = min(rate, self._max_rate)
        self.rate = max(rate, self._datagram_bytes / 2.0)
        largest = min(self.rate * QUANTUM_S, MAX_DATAGRAM_BYTES * 1.1, self._buffer_share / 2)
        self.quantum = int(max(largest, 2 * self._datagram_bytes))
        if self._phase is Phase.PROBE_RTT:
            self.window = self._floor()
        else:
            self.window = int(min(self._window, bandwidth * self._min_rtt + self._buffer_share))

    def _floor(self) -> int:
        return min(MIN_WINDOW_SEGMENTS * self._datagram_bytes, max(self._buffer_share, 2 * self._datagram_bytes))

    def _gain(self) -> float:
        if self._phase is Phase.STARTUP:
            return STARTUP_GAIN
        if self._phase is Phase.DRAIN:
            return 1 / STARTUP_GAIN
        return CYCLE_GAINS[self._cycle] if self._phase is Phase.PROBE_BANDWIDTH else 1.0

    def _update_bandwidth(self, now: float, rate: float, app_limited: bool) -> None:
        if rate <= 0 or (app_limited and rate < self.bandwidth):
            return
        samples = self._bandwidths
        while samples and samples[-1][2] <= rate:
            samples.pop()
        samples.append((self._rounds, now, rate))
        oldest_round, oldest_time = self._rounds - BANDWIDTH_ROUNDS, now - BANDWIDTH_WINDOW_S
        while len(samples) > 1 and samples[0][0] < oldest_round and samples[0][1] < oldest_time:
            samples.popleft()

    def _update_min_rtt(self, now: float, rtt_s: float, in_flight: int) -> None:
        expired = now - self._min_rtt_at > MIN_RTT_WINDOW_S
        if rtt_s > 0 and (rtt_s <= self._min_rtt or expired):
            self._min_rtt = rtt_s
            self._min_rtt_at = now
        if expired and self._phase is Phase.PROBE_BANDWIDTH:
            self._phase = Phase.PROBE_RTT
            self._probe_rtt_until = 0.0
        if self._phase is Phase.PROBE_RTT:
            if self._probe_rtt_until == 0.0 and in_flight <= self._floor():
                self._probe_rtt_until = now + max(PROBE_RTT_S, rtt_s)
            elif 0.0 < self._probe_rtt_until <= now:
                self._min_rtt_at = now
                self._start_cycle(now)

    def _check_full(self) -> None:
        if self.bandwidth >= self._full_bandwidth * FULL_GROWTH:
            self._full_bandwidth = self.bandwidth
            self._full_count = 0
            return
        self._full_count += 1
        if self._full_count >= FULL_ROUNDS:
            self._phase = Phase.DRAIN

    def _step(self, now: float, in_flight: int) -> None:
        if self._phase is Phase.DRAIN and in_flight <= self.bandwidth * (self._min_rtt + HOST_DELAY_S):
            self._start_cycle(now)
        elif self._phase is Phase.PROBE_BANDWIDTH and now - self._cycle_start > self._min_rtt + HOST_DELAY_S:
            self._cycle = (self._cycle + 1) % len(CYCLE_GAINS)
            self._cycle_start = now

    def _start_cycle(self, now: float) -> None:
        self._phase = Phase.PROBE_BANDWIDTH
        self._cycle = 2  # neither probe nor drain first
        self._cycle_start = now
