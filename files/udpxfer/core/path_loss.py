"""Tells the loss that a path always has from the loss that congestion makes.

Radio links and bad cables lose whatever the load is; a full queue loses only while it is full. So the path's own loss (its floor)
is learnt from rounds in which the queue is short, and much more loss than that is congestion (the loss ceiling of BBRv2 and BBRv3,
draft-ietf-ccwg-bbr section 4.5, over a floor that is learnt instead of zero). The queue is what a round trip takes longer than
the shortest one.

A flow that takes its own congestion for the path's loss makes up for it, and so keeps it up. What breaks this: now and then a flow
sends for a round trip more slowly than the path carries. The path loses as much of that as ever, a queue of our making nothing.
"""

from __future__ import annotations

import math
from collections import deque

from .recovery import HOST_DELAY_S

EXCESS_SHARE = 0.02
"""More loss than the path's own by this share is congestion (LossThresh of BBRv3)."""
DEVIATIONS = 3
"""So many standard deviations of a Poisson process above the floor are chance."""
BLOCK_SEGMENTS = 30
"""Loss is judged over whole rounds, together at least so many segments."""
BLOCKS = 20
"""The floor is learnt from so many of them."""
FEW_BLOCKS = 5
"""Of fewer than these only the smallest loss is believed, of more the highest fifth is left out."""
MAX_FLOOR = 0.25
"""More loss than this is never taken for the path's own."""
MAX_FIRST_FLOOR = 0.15
"""Nor more than this while the flow looks for its rate: a flow that begins in a full queue takes it for an empty one."""
DECAY = 0.97
"""A floor that cannot be seen again, since the queue is always long, is believed less with every block."""
SHORT_QUEUE = 0.1
"""A queue of this share of the round trip is short, ..."""
SHORT_OF_PEAK = 1 / 3
"""... and so is one of this share of the longest that was seen of late, ..."""
PEAK_DECAY = 0.98
"""... which is forgotten by this factor with every block."""
MEAN_OF_LONGEST = 0.4
"""A queue that flows fill and drain within a round is empty for a moment in each: its mean must be short, too, or no more than this share of the longest."""

DRAINED_MEMORY = 0.8
"""What was lost while the queue drained is remembered for about five times."""
DRAINED_DEVIATIONS = 2
"""The path may lose so many standard deviations more than that by chance."""


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)  # the statistics module takes 4 ms of every start to import


def is_short(queue_s: float, min_rtt_s: float) -> bool:
    """Whether a queue of ``queue_s`` seconds is short on a path whose round trip takes ``min_rtt_s`` without one."""
    return queue_s <= max(SHORT_QUEUE * min_rtt_s, HOST_DELAY_S)


def is_beyond_any_path(arrived: int, lost: int) -> bool:
    """Whether so many lost segments cannot be the path's own loss."""
    expected = MAX_FLOOR * (arrived + lost)
    return lost > expected + DEVIATIONS * math.sqrt(expected)


class PathLoss:
    """Counts what arrives and what is lost, and says when it is too much."""

    def __init__(self) -> None:
        self.floor = 0.0
        """The share of segments that the path loses without congestion."""
        self._most = MAX_FLOOR
        self._drained = self._drained_lost = 0.0
        self._shares: deque[float] = deque(maxlen=BLOCKS)
        self._arrived = self._lost = 0
        self._queues_s: list[float] = []
        self._previous_s = (0.0, 0.0, 0.0)  # least, mean and longest queue of the round before
        self._peak_s = self._longest_s = 0.0

    def add(self, arrived: int, lost: int, queue_s: float, min_rtt_s: float, new_round: bool, steady: bool) -> bool:
        """Count segments; True when congestion shows.

        ``queue_s`` is infinite when this was no sample of it. ``steady`` is False while the flow looks for its rate: its bursts
        then fill and drain a queue within a round, so that no more than the longest sample tells whether it was short.
        """
        self._arrived += arrived
        self._lost += lost
        if queue_s != math.inf:
            self._queues_s.append(queue_s)
        total, lost = self._arrived + self._lost, self._lost
        if not new_round or total < BLOCK_SEGMENTS or not self._queues_s:
            return False
        expected = self.floor * total
        congested = lost > max(expected + EXCESS_SHARE * total + DEVIATIONS * math.sqrt(expected), 2)
        if self._was_short(min_rtt_s, steady) and lost <= (MAX_FLOOR if steady else MAX_FIRST_FLOOR) * total:
            self._learn(lost / total)
        else:
            self.floor *= DECAY
        self._queues_s.clear()
        self._arrived = self._lost = 0
        return congested

    def add_drained(self, arrived: int, lost: int) -> None:
        """Count segments sent more slowly than the path carries: what the path loses by itself, it loses of them as well."""
        self._drained = self._drained * DRAINED_MEMORY + arrived + lost
        self._drained_lost = self._drained_lost * DRAINED_MEMORY + lost
        if self._drained >= BLOCK_SEGMENTS:
            likely = self._drained_lost + DRAINED_DEVIATIONS * math.sqrt(self._drained_lost + 1)
            self._most = min(likely / self._drained, MAX_FLOOR)
            self.floor = min(self.floor, self._most)

    def _was_short(self, min_rtt_s: float, steady: bool) -> bool:
        """What is lost in a full queue shows a round later: so the queue must have been short in the round before as well."""
        queue_s = min(self._queues_s), _mean(self._queues_s), max(self._queues_s)
        self._peak_s = max(queue_s[0], self._peak_s * PEAK_DECAY)
        self._longest_s = max(queue_s[2], self._longest_s * PEAK_DECAY)
        least, mean, longest = map(max, queue_s, self._previous_s)
        self._previous_s = queue_s
        if not steady:
            return is_short(longest, min_rtt_s)
        short = is_short(least, min_rtt_s) or least <= self._peak_s * SHORT_OF_PEAK
        return short and (is_short(mean, min_rtt_s) or mean <= self._longest_s * MEAN_OF_LONGEST)

    def _learn(self, share: float) -> None:
        self._shares.append(share)
        shares = sorted(self._shares)
        if len(shares) < FEW_BLOCKS:
            self.floor = shares[0] if len(shares) > 1 else 0.0
        else:  # the highest may be congestion that was seen before the queue was
            self.floor = _mean(shares[: -(len(shares) // FEW_BLOCKS)])
        self.floor = min(self.floor, self._most)
