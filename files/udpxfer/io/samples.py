"""How far a transfer was at what time: a short series for reports, whatever its length."""

from __future__ import annotations

MAX_SAMPLES = 50
"""Enough for a curve, and few enough to travel in a result."""
FIRST_INTERVAL_S = 0.001
"""So that a transfer of some milliseconds has a curve, too."""


class Samples:
    """Pairs of seconds since the start and bytes at the receiver, never more than ``MAX_SAMPLES``.

    When the series is full, every second pair goes and the interval doubles, so that it always spans the whole transfer.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._interval = FIRST_INTERVAL_S
        self._pairs: list[tuple[float, int]] = []
        self.due_at = started_at

    def add(self, now: float, done_bytes: int) -> None:
        """Note ``done_bytes`` at ``now`` (monotonic seconds); to be called when ``now`` is not before ``due_at``."""
        if self._pairs and self._pairs[-1][1] == done_bytes:
            return
        self._pairs.append((round(now - self._started_at, 6), done_bytes))
        if len(self._pairs) == MAX_SAMPLES:
            del self._pairs[1::2]
            self._interval *= 2
        self.due_at = now + self._interval

    def closed(self, now: float, done_bytes: int) -> list[tuple[float, int]]:
        """The whole series with the end as its last pair."""
        return [*self._pairs, (round(now - self._started_at, 6), done_bytes)]
