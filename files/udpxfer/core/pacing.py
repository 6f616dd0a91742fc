"""Token bucket: sends are spread over time at the rate that congestion control allows."""

from __future__ import annotations

BURST_SEGMENTS = 10
"""What may leave at once at the start, and after an idle moment: the initial window of RFC 6928 (RFC 9002 section 7.7)."""

BURST_S = 0.002
"""On fast paths more may leave after an idle moment, in seconds of sending; it makes up for late wake-ups."""


BATCH_S = 0.0005
"""An empty bucket is left to fill for this long: on fast paths several sends share one wake-up, here and at the peer."""


class Pacer:
    """A bucket of bytes that fills at ``rate`` bytes per second and may go into debt by one send.

    It never holds more than ``burst_bytes`` or BURST_S of sending.
    """

    def __init__(self, now: float, rate: float, burst_bytes: int) -> None:
        self._burst_bytes = burst_bytes
        self._tokens = float(burst_bytes)
        self._filled_at = now
        self._rate = rate

    def set_rate(self, now: float, rate: float) -> None:
        """From ``now`` on fill at ``rate`` bytes per second."""
        self._fill(now)
        self._rate = rate

    def _fill(self, now: float) -> None:
        depth = max(self._rate * BURST_S, self._burst_bytes)
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, depth)
        self._filled_at = now

    def delay(self, now: float) -> float:
        """Seconds until the next send may leave; 0 when it may leave now."""
        self._fill(now)
        return 0.0 if self._tokens >= 0 else BATCH_S - self._tokens / self._rate

    def spend(self, count: int) -> None:
        """Take ``count`` bytes out of the bucket."""
        self._tokens -= count
