"""Token bucket: sends are spread over time at the rate that congestion control allows."""

from __future__ import annotations

BURST_S = 0.002
"""What may leave at once after an idle moment, in seconds of sending: twice the quantum, to make up for late wake-ups."""


class Pacer:
    """A bucket of bytes that fills at the given rate and may go into debt by one send."""

    def __init__(self, now: float, rate: float) -> None:
        self._tokens = 0.0
        self._filled_at = now
        self._rate = rate

    def set_rate(self, now: float, rate: float, quantum_bytes: int) -> None:
        """From ``now`` on fill at ``rate`` bytes per second; never hold more than a burst."""
        self._fill(now)
        self._rate = rate
        self._tokens = min(self._tokens, max(rate * BURST_S, float(quantum_bytes)))

    def _fill(self, now: float) -> None:
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, max(self._rate * BURST_S, self._tokens))
        self._filled_at = now

    def delay(self, now: float) -> float:
        """Seconds until the next send may leave; 0 when it may leave now."""
        self._fill(now)
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

    def spend(self, count: int) -> None:
        """Take ``count`` bytes out of the bucket."""
        self._tokens -= count
