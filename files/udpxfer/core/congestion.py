"""Congestion control: a model of the path decides rate and window, and congestion puts a bound on it.

The model is BBR's (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14(5), 2016, and
draft-cardwell-iccrg-bbr-congestion-control-00): the largest bandwidth and the smallest round-trip time of late say how much fits
into the path. Bandwidth is taken from the receiver's own clock, so compressed acknowledgements do not inflate it. What stands in
the receiver's socket buffer is bounded by that buffer's real size.

BBR ignores loss and so takes most of a link that it shares with TCP. Here loss counts when it is more than the path's own
(`path_loss`): from then on the window is no larger than CUBIC's would be (`cubic`). Alone on a path the model decides and the queue
stays short; beside TCP the queue is full, losses come, and the share is about TCP's.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from .cubic import CubicWindow
from .geometry import MAX_DATAGRAM_BYTES
from .path_loss import PathLoss, is_beyond_any_path, is_short
from .recovery import HOST_DELAY_S

INITIAL_WINDOW_SEGMENTS = 16
"""With the growth below, 100 KB take two round trips instead of three. RFC 6928 has ten, in one burst; here as many leave at once
(`pacing`), the others spread. Chromium's QUIC begins with 32."""
MIN_WINDOW_SEGMENTS = 4
"""BBRMinPipeCwnd."""
DRAIN_GAIN = 0.35
"""The inverse of BBR's start-up gain, 2 / ln 2."""
STARTUP_BURST = 4.0
"""At the start the window leaves in a quarter of a round trip; where not even that makes a queue, four times the window fits."""
STARTUP_QUEUE_SHARE = 0.15
"""A longer queue than this share of the round trip is one: less is that of the bursts themselves."""
STARTUP_WINDOW_GAIN = 3.0
"""Once there is a queue, the window doubles (RFC 5681 section 3.1) up to so many times what the model says."""
STARTUP_LIMIT_GAIN = 8.0
"""Before that as well the window stays within so many times what the model says, since nearly all of a burst may be lost."""
FULL_QUEUE_SHARE = 0.25
"""A queue of this share of the round trip in all of a round's samples ends the start (as HyStart, RFC 9406)."""
FULL_SAMPLES = 3
"""Fewer samples in a round may be late by chance."""
FULL_GROWTH = 1.25
"""The start also ends when the bandwidth has not grown by a quarter ..."""
FULL_ROUNDS = 3
"""... in so many rounds (BBRCheckFullPipe)."""
CYCLE_GAINS = (1.25, 0.75, 1.01, 1.01, 1.01, 1.01, 1.01, 1.01)
"""BBR cruises at 1.0; at that a link that was idle for a moment never makes up for it."""
PROBE, DRAIN, CRUISE = 0, 1, 2  # the first three of them
RESTART_GROWTH = 1.2
"""When a probe raises the bandwidth this much, more may be there: start again. A start may end early because of a busy host."""
WINDOW_GAIN = 2.0
"""BBR's cwnd_gain: room for acknowledgements that are late and for those that come together."""
BANDWIDTH_ROUNDS = 10
BANDWIDTH_WINDOW_S = 0.2
"""A delivery rate counts for ten rounds, and at least this long: a busy host must not look like a slow network."""
MIN_RTT_WINDOW_S = 10.0
"""A shortest round trip counts for so long (RTpropFilterLen), ..."""
PROBE_RTT_S = 0.2
"""... then the window is small for this time, so that another one shows (ProbeRTTDuration)."""
SAME_RTT_SHARE = 0.02
"""A sample that exceeds the shortest by no more than this share (or HOST_DELAY_S) shows that no queue stands, so that none need be
made: BBR stops every ten seconds, for 2.5 % of the goodput, when no later sample is as short to the microsecond."""
LEAST_RTT_GROWTH = 1.05
"""When the shortest round trip is measured anew beside others that keep the queue full, only so much of it is believed to be the path."""
MODEL_SHARE = 0.85
"""Congestion never takes more of the window than this share of the model leaves."""
CALM_ROUNDS = 2
"""One congestion shows in two rounds, and counts once; that of the start shows while it drains, which takes two more."""
LOSSY_FLOOR = 0.003
"""Where a path loses more than this by itself, TCP CUBIC is hardly there to share with (RFC 9438 section 5.2, figure 2)."""
LOSSY_GROWTH = 1.1
"""There a bound set by mistake goes by this factor in each round with a short queue."""
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
        self._round_peak = 0  # of this round: largest flight, smallest queue, samples
        self._round_queue_s = math.inf
        self._round_samples = 0
        self._round_arrived = self._round_lost = 0  # segments
        self._full_bandwidth = 0.0
        self._full_count = 0
        self._cycle = PROBE
        self._cycle_start = now
        self._cycle_bandwidth = 0.0
        self._cycle_arrived = self._cycle_lost = 0  # segments of this part of the cycle
        self._min_rtt = rtt_s  # of the last MIN_RTT_WINDOW_S, with whatever queue others keep
        self._min_rtt_at = now
        self._least_rtt = rtt_s  # what of it is believed to be the path
        self._probe_rtt_until = 0.0
        self._path_loss = PathLoss()
        self._bound = CubicWindow()
        self._calm_until = 0
        initial = INITIAL_WINDOW_SEGMENTS * min(datagram_bytes, 1472)
        self._initial = self._window = float(max(min(initial, self._buffer_share // 2), 2 * datagram_bytes))
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

    def on_ack(
        self,
        now: float,
        acked_bytes: int,
        lost_bytes: int,
        in_flight: int,
        rate: float,
        app_limited: bool,
        rtt_s: float,
        new_round: bool,
    ) -> None:
        """An acknowledgement arrived.

        ``lost_bytes`` were found lost since the last one, ``in_flight`` are on their way now. ``rate`` is the delivery rate that
        it shows (bytes/s, 0 when unknown), ``app_limited`` that the sender had nothing more to send then, ``rtt_s`` a round-trip
        time (0 when unknown), ``new_round`` that a round trip of at least HOST_DELAY_S is over.
        """
        self._rounds += new_round
        self._update_bandwidth(now, rate, app_limited)
        self._update_min_rtt(now, rtt_s, in_flight)
        queue_s = max(rtt_s - self._least_rtt, 0.0) if rtt_s > 0 else math.inf
        self._round_peak = max(self._round_peak, in_flight + acked_bytes + lost_bytes)
        self._round_queue_s = min(self._round_queue_s, queue_s)
        self._round_samples += rtt_s > 0
        arrived, lost = acked_bytes // self._datagram_bytes, lost_bytes // self._datagram_bytes
        self._round_arrived += arrived
        self._round_lost += lost
        if self._phase is Phase.STARTUP and not app_limited:
            self._check_full(new_round)
        self._update_bound(now, arrived, lost, queue_s, new_round)
        self._step(now, in_flight)
        self._update_window(acked_bytes, lost_bytes, queue_s)
        if new_round:
            self._round_peak, self._round_queue_s, self._round_samples = in_flight, math.inf, 0
            self._round_arrived = self._round_lost = 0
        self._refresh()

    def on_probe_timeout(self, backoff: int) -> None:
        """Nothing was heard for ``backoff`` probe timeouts: fall back to the smallest window (RFC 8085 section 3.1)."""
        if backoff >= 2:
            self._window = float(self._floor())
            self._refresh()

    def _refresh(self) -> None:
        """Work out rate, window and quantum once for all sends until the next acknowledgement."""
        draining = self._phase is Phase.PROBE_BANDWIDTH and self._cycle == DRAIN
        # Loss is not made up for then: what is of our own making must become less.
        rate = self._gain() * (self.bandwidth if draining else self._bandwidth_to_send())
        if self._phase is Phase.STARTUP:
            # Samples lag behind the window while it grows.
            rate = max(rate, STARTUP_BURST * self._window / max(self._min_rtt, 0.0005))
        self.rate = max(rate, self._datagram_bytes / 2.0)
        if self._max_rate is not None:
            self.rate = min(self.rate, self._max_rate)
        largest = min(self.rate * QUANTUM_S, MAX_DATAGRAM_BYTES * 1.1, self._buffer_share / 2)
        self.quantum = int(max(largest, 2 * self._datagram_bytes))
        if self._phase is Phase.PROBE_RTT:
            self.window = self._floor()
        else:
            self.window = int(min(self._window, self._bandwidth_to_send() * self._min_rtt + self._buffer_share))

    def _bandwidth_to_send(self) -> float:
        """What to send to make the bandwidth arrive: the path's own loss is made up for."""
        return self.bandwidth / (1 - self._path_loss.floor)

    def _floor(self) -> int:
        return min(MIN_WINDOW_SEGMENTS * self._datagram_bytes, max(self._buffer_share, 2 * self._datagram_bytes))

    def _gain(self) -> float:
        if self._phase is Phase.DRAIN:
            return DRAIN_GAIN
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
        if 0 < rtt_s <= self._min_rtt + max(SAME_RTT_SHARE * self._min_rtt, HOST_DELAY_S):
            self._min_rtt_at = now
        if rtt_s > 0 and (rtt_s <= self._min_rtt or expired):
            self._min_rtt = rtt_s
            self._min_rtt_at = now
            self._least_rtt = min(rtt_s, self._least_rtt * LEAST_RTT_GROWTH if expired else self._least_rtt)
        if expired and self._phase is Phase.PROBE_BANDWIDTH:
            self._phase = Phase.PROBE_RTT
            self._probe_rtt_until = 0.0
        if self._phase is Phase.PROBE_RTT:
            if self._probe_rtt_until == 0.0 and in_flight <= self._floor():
                self._probe_rtt_until = now + max(PROBE_RTT_S, rtt_s)
            elif 0.0 < self._probe_rtt_until <= now:
                self._min_rtt_at = now
                self._enter_cycle(now, CRUISE)

    def _check_full(self, new_round: bool) -> None:
        """The start ends when a queue stands, when the bandwidth has not grown for three rounds, or when no path loses so much."""
        queue_s = max(FULL_QUEUE_SHARE * self._min_rtt, 2 * HOST_DELAY_S)
        full = self._round_samples >= FULL_SAMPLES and self._round_queue_s > queue_s
        if new_round and self.bandwidth >= self._full_bandwidth * FULL_GROWTH:
            self._full_bandwidth = self.bandwidth
            self._full_count = 0
        elif new_round:
            self._full_count += 1
            full |= self._full_count >= FULL_ROUNDS
        full |= new_round and is_beyond_any_path(self._round_arrived, self._round_lost)
        if full:
            self._phase = Phase.DRAIN
            self._calm_until = self._rounds + 2 * CALM_ROUNDS

    def _update_bound(self, now: float, arrived: int, lost: int, queue_s: float, new_round: bool) -> None:
        """Congestion bounds the window like CUBIC's; without it the bound grows until it is none. Counts are segments."""
        self._bound.grow(now, arrived, self._min_rtt)
        self._cycle_arrived += arrived
        self._cycle_lost += lost
        calm = self._rounds >= self._calm_until
        steady = calm and self._phase not in (Phase.STARTUP, Phase.DRAIN)
        congested = self._path_loss.add(arrived, lost, queue_s, self._min_rtt, new_round, steady)
        if congested and calm and self._phase is not Phase.STARTUP:
            size = self._datagram_bytes
            model = MODEL_SHARE * self._bandwidth_to_send() * self._min_rtt
            self._bound.reduce(now, min(self._round_peak, self._window) / size, model / size)
            self._calm_until = self._rounds + CALM_ROUNDS
        elif new_round and self._path_loss.floor > LOSSY_FLOOR and is_short(self._round_queue_s, self._min_rtt):
            self._bound.scale(LOSSY_GROWTH)

    def _step(self, now: float, in_flight: int) -> None:
        if self._phase is Phase.DRAIN and in_flight <= self.bandwidth * (self._min_rtt + HOST_DELAY_S):
            self._enter_cycle(now, PROBE)
        elif self._phase is Phase.PROBE_BANDWIDTH and now - self._cycle_start > self._min_rtt + HOST_DELAY_S:
            if self._cycle == CRUISE:  # what arrives in the round trip after it was sent while the queue drained
                self._path_loss.add_drained(self._cycle_arrived, self._cycle_lost)
            self._enter_cycle(now, (self._cycle + 1) % len(CYCLE_GAINS))
            if self._cycle == CRUISE:
                self._restart_if_faster()

    def _restart_if_faster(self) -> None:
        bound = self._bound.segments != math.inf and self._path_loss.floor <= LOSSY_FLOOR
        if self.bandwidth > RESTART_GROWTH * self._cycle_bandwidth and not bound:
            self._bound = CubicWindow()
            self._phase, self._full_bandwidth, self._full_count = Phase.STARTUP, 0.0, 0

    def _enter_cycle(self, now: float, part: int) -> None:
        self._phase = Phase.PROBE_BANDWIDTH
        self._cycle = part
        self._cycle_start = now
        self._cycle_arrived = self._cycle_lost = 0
        if part == PROBE:
            self._cycle_bandwidth = self.bandwidth

    def _update_window(self, acked_bytes: int, lost_bytes: int, queue_s: float) -> None:
        fits = self._bandwidth_to_send() * (self._min_rtt + HOST_DELAY_S)
        if self._phase is not Phase.STARTUP:
            target = min(WINDOW_GAIN * fits + 3 * self.quantum, self._bound.segments * self._datagram_bytes)
            self._window = max(min(self._window + acked_bytes, target), float(self._floor()))
            return
        grown = float(acked_bytes + lost_bytes)
        if queue_s <= max(STARTUP_QUEUE_SHARE * self._min_rtt, HOST_DELAY_S):
            grown, limit = (STARTUP_BURST - 1) * grown, STARTUP_LIMIT_GAIN * max(fits, self._initial)
        else:
            limit = max(STARTUP_WINDOW_GAIN * fits, self._initial)
        self._window = max(self._window, min(self._window + grown, limit))
