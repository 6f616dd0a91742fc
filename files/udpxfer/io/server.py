"""The receiver's loop: joins the sessions to one socket, one directory and two threads for slow work on the disk."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import select
import time
from collections.abc import Callable

from ..core.sessions import Limits, Sessions
from ..events import EventLog
from .store import Store
from .udp import ReceiverSocket

BURSTS_PER_TURN = 64
"""So many bursts (4 MB, what a socket buffer holds) may be taken before the loop looks at timers and finished disk jobs."""
COALESCE_S = 0.0005
"""Where datagrams come one by one, they are left to become some: what network cards call interrupt coalescing. Halves the processor
time at 100 Mbit/s; at 1 Gbit/s 42 datagrams come meanwhile, less than half of what the smallest usual socket buffer holds."""


class Server:
    """Receives files at one address into one directory. Raises TransferError when address or directory is unusable."""

    def __init__(self, address: tuple[str, int], into: str, key: bytes, limits: Limits, log: EventLog) -> None:
        self._store = Store(into, limits)
        self._log = log
        self._socket = ReceiverSocket(*address)
        self._jobs = concurrent.futures.ThreadPoolExecutor(2, "udpxfer-disk")
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._stopping = False
        self._sessions = Sessions(self._socket, self._store, limits, key, log, self._start, os.urandom)

    def stop(self) -> None:
        """Let `run` return soon; safe in a signal handler."""
        self._stopping = True
        self._wake()

    def run(self) -> None:
        """Serve until `stop`. What is half received is made durable before it returns, so that it can be resumed."""
        self._log.emit(
            "listening",
            address=self._socket.address,
            receive_buffer_bytes=self._socket.receive_buffer_bytes,
            aggregation=self._socket.aggregation,
        )
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        all_taken = self._receive()
        self._sessions.on_time(time.monotonic())
        if not all_taken:
            return
        readable, _, _ = select.select([self._socket.fileno(), self._wake_in], (), (), self._sessions.wait_s())
        if self._socket.comes_singly:
            time.sleep(COALESCE_S)
        if self._wake_in in readable:
            os.read(self._wake_in, 4096)
            self._sessions.on_time(time.monotonic(), job_done=True)

    def _receive(self) -> bool:
        """Hand over what has arrived; False when there may be more."""
        for _ in range(BURSTS_PER_TURN):
            received = self._socket.receive()
            if received is None:
                return True
            self._sessions.on_burst(*received, time.monotonic())
        return False

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: the loop wakes anyway
            os.write(self._wake_out, b"\0")

    def _shut_down(self) -> None:
        self._receive()  # a last word may have come together with the signal
        self._jobs.shutdown(wait=True)
        self._sessions.close(time.monotonic())
        self._socket.close()
        self._store.close()
        os.close(self._wake_in)
        os.close(self._wake_out)
        self._log.emit("stopped", dropped_datagrams=self._sessions.dropped)

    def _start(self, work: Callable[[], None]) -> concurrent.futures.Future[None]:
        job = self._jobs.submit(work)
        job.add_done_callback(lambda _: self._wake())
        return job
