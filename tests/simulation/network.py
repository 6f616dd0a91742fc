"""A network in virtual time: links that lose, delay, repeat, reorder, alter and cut datagrams.

Nothing here waits: the clock jumps to the next event, so that hours of protocol time take milliseconds.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import itertools
import random
from collections.abc import Callable, Sequence

BURST_MEMORY_S = 0.1


@dataclasses.dataclass(frozen=True)
class Path:
    """What one direction does to datagrams: seconds, shares of one, and bytes per second (0: unlimited)."""

    delay_s: float = 0.01
    jitter_s: float = 0.0  # more than the time between two datagrams: reorders
    loss: float = 0.0
    burst: float = 1.0  # datagrams lost in a row, on average
    duplicate: float = 0.0
    corrupt: float = 0.0
    truncate: float = 0.0
    rate: float = 0.0
    queue_bytes: int = 100_000
    mtu_bytes: int = 65_507  # largest UDP payload; what is larger vanishes
    interrupt_s: float = 0.0  # arrivals wait for the next multiple of it, and come together
    down: tuple[tuple[float, float], ...] = ()  # black-outs: (from, until)


class Clock:
    """Virtual time and what happens at which."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do ``action`` at ``time``."""
        heapq.heappush(self._events, (time, next(self._order), action))

    def clear(self) -> None:
        """Forget all that is planned."""
        self._events.clear()

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._events:
            return False
        time, _, action = heapq.heappop(self._events)
        self.now = max(self.now, time)
        action()
        return True


class Impairment:
    """Decides what becomes of each datagram on a path. Used in virtual time here, in real time by the proxy of tests/network."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path, self._rng = path, rng
        self._free_at = 0.0
        self._losing = False
        self._used_at = 0.0

    def arrivals(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """When and as what the datagram arrives: nothing when it is lost, more than once when it is repeated."""
        path, rng = self.path, self._rng
        if len(datagram) > path.mtu_bytes or any(start <= now < end for start, end in path.down) or self._lost(now):
            return []
        leave = now
        if path.rate:
            if (self._free_at - now) * path.rate > path.queue_bytes:
                return []
            self._free_at = leave = max(self._free_at, now) + len(datagram) / path.rate
        copies = 2 if path.duplicate and rng.random() < path.duplicate else 1
        return [(self._arrival(leave), self._altered(datagram)) for _ in range(copies)]

    def _arrival(self, leave: float) -> float:
        path = self.path
        time = leave + path.delay_s + (self._rng.random() * path.jitter_s if path.jitter_s else 0.0)
        return -(-time // path.interrupt_s) * path.interrupt_s if path.interrupt_s else time

    def _lost(self, now: float) -> bool:
        """Gilbert's two states, with the path's share of losses and mean length of a burst; a silent path recovers."""
        path, rng = self.path, self._rng
        self._losing &= now < self._used_at + BURST_MEMORY_S
        self._used_at = now
        if not path.loss:
            return False
        if path.burst <= 1:
            return rng.random() < path.loss
        leave = 1 / path.burst
        enter = leave * path.loss / max(1 - path.loss, 1e-9)
        self._losing = rng.random() >= leave if self._losing else rng.random() < enter
        return self._losing

    def _altered(self, datagram: bytes) -> bytes:
        path, rng = self.path, self._rng
        if path.corrupt and datagram and rng.random() < path.corrupt:
            position = rng.randrange(len(datagram))
            datagram = (
                datagram[:position] + bytes([datagram[position] ^ 1 << rng.randrange(8)]) + datagram[position + 1 :]
            )
        if path.truncate and rng.random() < path.truncate:
            datagram = datagram[: rng.randrange(len(datagram) + 1)]
        return datagram


class Link:
    """One direction of the network in virtual time."""

    def __init__(self, path: Path, clock: Clock, rng: random.Random, deliver: Callable[[list[bytes]], None]) -> None:
        self._impairment, self._clock, self._deliver = Impairment(path, rng), clock, deliver
        self.sent = 0

    @property
    def path(self) -> Path:
        """What the link does."""
        return self._impairment.path

    @path.setter
    def path(self, path: Path) -> None:
        self._impairment.path = path

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Put datagrams on the link; those that arrive at the same time are delivered together."""
        self.sent += len(datagrams)
        together: dict[float, list[bytes]] = {}
        for datagram in datagrams:
            for time, copy in self._impairment.arrivals(datagram, self._clock.now):
                together.setdefault(time, []).append(copy)
        for time, arrived in together.items():
            self._clock.at(time, functools.partial(self._deliver, arrived))
