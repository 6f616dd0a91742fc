"""The window of CUBIC (RFC 9438) as an upper bound after congestion: what a TCP flow beside us would do, we do not exceed."""

from __future__ import annotations

import math

C = 0.4
"""Segments per second cubed (section 5)."""
BETA = 0.7
"""What is left of the window after congestion (section 4.6)."""
RENO_INCREASE = 3 * (1 - BETA) / (1 + BETA)
"""Segments per round trip that make a window with BETA as fast as Reno's (section 4.3)."""
MAX_GROWTH = 1.5
"""Per round trip (section 4.2)."""


class CubicWindow:
    """A window in segments; infinite until the first congestion."""

    def __init__(self) -> None:
        self.segments = math.inf
        self._before = 0.0
        """The window before the last congestion (W_max)."""
        self._reno = 0.0
        self._reduced_at = 0.0
        self._plateau_s = 0.0

    def reduce(self, now: float, in_flight: float, least: float) -> None:
        """Congestion showed with ``in_flight`` segments in flight; the window does not become smaller than ``least``."""
        converging = in_flight < self._before  # section 4.7: leave room for new flows
        self._before = in_flight * (1 + BETA) / 2 if converging else in_flight
        self.segments = self._reno = max(in_flight * BETA, min(least, in_flight))
        self._plateau_s = (max(self._before - self.segments, 0.0) / C) ** (1 / 3)
        self._reduced_at = now

    def grow(self, now: float, arrived: int, rtt_s: float) -> None:
        """``arrived`` segments were acknowledged."""
        if self.segments == math.inf:
            return
        self._reno += RENO_INCREASE * arrived / self._reno
        cubic = C * (now + rtt_s - self._reduced_at - self._plateau_s) ** 3 + self._before
        self.segments = max(self.segments, self._reno, min(cubic, MAX_GROWTH * self.segments))

    def scale(self, factor: float) -> None:
        """Grow faster than CUBIC does, where no TCP can be beside us."""
        self.segments *= factor
        self._reno *= factor
        self._before *= factor
