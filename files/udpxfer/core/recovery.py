"""Round-trip times and the timers made of them (RFC 9002, sections 5 and 6)."""

from __future__ import annotations

GRANULARITY_S = 0.001
"""RFC 9002 section 6.1.2: the smallest timer that makes sense."""

ANSWER_ALLOWANCE_S = 0.005
"""How late a busy receiver may answer a segment that asks for an acknowledgement at once (max_ack_delay of RFC 9002)."""

HOST_DELAY_S = 0.002
"""Hosts are no clocks: an acknowledgement may be this late because of them. Pacing keeps the network's queue short."""

SEND_THRESHOLD = 3
"""RFC 9002 section 6.1.1 (kPacketThreshold), counted in sends: a send is lost when three later ones have arrived."""

MAX_PROBE_INTERVAL_S = 2.0
"""Probes back off up to here, so that a path which comes back is noticed soon; one probe is two segments."""


class RoundTrip:
    """Smoothed and smallest round-trip time in seconds."""

    def __init__(self, first_s: float) -> None:
        self.latest = self.smoothed = self.smallest = first_s
        self.variation = first_s / 2

    def update(self, sample_s: float) -> None:
        """Take a new sample (RFC 9002 section 5.3; the receiver's delay is already subtracted)."""
        self.latest = sample_s
        self.smallest = min(self.smallest, sample_s)
        self.variation += (abs(self.smoothed - sample_s) - self.variation) / 4
        self.smoothed += (sample_s - self.smoothed) / 8

    def loss_delay(self) -> float:
        """Seconds after which a send that was overtaken counts as lost (section 6.1.2)."""
        return max(1.125 * max(self.smoothed, self.latest), GRANULARITY_S)

    def probe_timeout(self, backoff: int) -> float:
        """Seconds without an answer until the next probe, after ``backoff`` probes in vain (section 6.2.1)."""
        timeout = self.smoothed + max(4 * self.variation, GRANULARITY_S) + ANSWER_ALLOWANCE_S
        return max(timeout, min(timeout * 2.0**backoff, MAX_PROBE_INTERVAL_S))
