"""A UDP proxy on loopback that treats real datagrams as badly as the simulated network does."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable

from tests.simulation.network import Impairment, Path

BUFFER_BYTES = 8 * 1024 * 1024
SO_RCVBUFFORCE = 33
SEEN_DATAGRAMS = 10_000


def udp_socket() -> socket.socket:
    """A socket on loopback with room for bursts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    forced = SO_RCVBUFFORCE if os.geteuid() == 0 else socket.SO_RCVBUF
    sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
    sock.bind(("127.0.0.1", 0))
    return sock


class Proxy:
    """Stands between senders and one receiver; `there` and `back` may be changed at any time."""

    def __init__(self, receiver: str, there: Path, back: Path, rng: random.Random) -> None:
        host, _, port = receiver.rpartition(":")
        self._receiver = (host, int(port))
        self._front = udp_socket()
        self.address = f"127.0.0.1:{self._front.getsockname()[1]}"
        self._there, self._back = Impairment(there, rng), Impairment(back, rng)
        self._began = time.monotonic()
        self._backs: dict[tuple[str, int], socket.socket] = {}  # a socket of its own for each sender
        self._sockets: list[socket.socket] = []
        self._senders: dict[int, tuple[str, int]] = {}
        self._waiting: list[tuple[float, int, socket.socket, bytes, tuple[str, int]]] = []
        self._order = itertools.count()
        self.seen: list[bytes] = []  # the first datagrams of senders, for replays
        self.forge: Callable[[bytes], bytes] | None = None
        """Makes of each datagram to a sender one that is delivered before it."""
        self._stop_in, self._stop_out = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def change(self, there: Path, back: Path) -> None:
        """Other paths from now on."""
        self._there.path, self._back.path = there, back

    def move(self) -> None:
        """Forget who is who, as a NAT does that restarts: senders get new addresses."""
        self._backs = {}

    def close(self) -> None:
        """End the proxy."""
        os.write(self._stop_out, b"\0")
        self._thread.join()
        os.close(self._stop_in)
        os.close(self._stop_out)
        for sock in (self._front, *self._sockets):
            sock.close()

    def _run(self) -> None:
        while True:
            now = time.monotonic() - self._began
            while self._waiting and self._waiting[0][0] <= now:
                _, _, sock, datagram, address = heapq.heappop(self._waiting)
                with contextlib.suppress(OSError):
                    sock.sendto(datagram, address)
            wait = max(self._waiting[0][0] - now, 0.0) if self._waiting else None
            sockets = {sock.fileno(): sock for sock in (self._front, *self._sockets)}
            readable, _, _ = select.select([self._stop_in, *sockets], (), (), wait)
            if self._stop_in in readable:
                return
            for descriptor in readable:
                self._take(sockets[descriptor], time.monotonic() - self._began)

    def _take(self, sock: socket.socket, now: float) -> None:
        for _ in range(64):
            try:
                datagram, source = sock.recvfrom(65_536)
            except OSError:
                return
            if sock is self._front:
                if len(self.seen) < SEEN_DATAGRAMS:
                    self.seen.append(datagram)
                self._forward(self._there, datagram, self._back_of(source), self._receiver, now)
            else:
                if self.forge is not None:
                    self._forward(self._back, self.forge(datagram), self._front, self._senders[sock.fileno()], now)
                self._forward(self._back, datagram, self._front, self._senders[sock.fileno()], now)

    def _back_of(self, sender: tuple[str, int]) -> socket.socket:
        sock = self._backs.get(sender)
        if sock is None:
            sock = self._backs[sender] = udp_socket()
            self._sockets.append(sock)
            self._senders[sock.fileno()] = sender
        return sock

    def _forward(
        self, impairment: Impairment, datagram: bytes, sock: socket.socket, address: tuple[str, int], now: float
    ) -> None:
        for at, copy in impairment.arrivals(datagram, now):
            if at <= now:
                with contextlib.suppress(OSError):
                    sock.sendto(copy, address)
            else:
                heapq.heappush(self._waiting, (at, next(self._order), sock, copy, address))
