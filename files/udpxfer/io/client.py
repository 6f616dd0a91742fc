"""The sender's loop: joins the core to a socket and a file. One blocking call sends one file to one receiver."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from ..core.delivery import Delivery, Totals
from ..core.names import check_label, check_name
from ..core.wire import Offer
from ..errors import Code, TransferError
from .samples import Samples
from .source import Source
from .udp import SenderSocket, parse_address

SENDS_PER_TURN = 8
"""So many sends may leave before the loop looks for acknowledgements."""
PROGRESS_INTERVAL_S = 0.2
MAX_WAIT_S = 0.5
"""An interruption is noticed after at most this time."""

Progress = Callable[[str, int, int], None]

INTERRUPTED = threading.Event()
"""Set by a signal handler: every send of this process ends with the error INTERRUPTED."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One file for one receiver."""

    path: str
    receiver: str  # HOST:PORT
    label: str = ""
    max_rate: float | None = None  # bytes per second
    sha256: bool = False


@dataclasses.dataclass
class Result:
    """What became of a job. Times are Unix seconds; `docs/protocol.md` explains the counters."""

    file: str
    receiver: str
    start: float
    end: float = 0.0
    seconds: float = 0.0
    bytes: int = 0
    sha256: str | None = None
    verified: bool = False
    goodput_bytes_per_s: float = 0.0
    totals: Totals = dataclasses.field(default_factory=Totals)
    segmentation: str = ""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    progress: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # seconds since the start, bytes there
    error: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as it appears in JSON."""
        fields = dataclasses.asdict(self)
        totals = fields.pop("totals")
        return {**fields, **totals}


def send_file(job: Job, key: bytes, progress: Progress) -> Result:
    """Send one file and wait until the receiver has it on disk. A failure is told in ``error``, not raised."""
    result = Result(file=os.path.basename(job.path), receiver=job.receiver, start=time.time())
    started, cpu = time.monotonic(), cpu_seconds(resource.RUSAGE_THREAD)
    try:
        _send(job, key, result, progress)
    except TransferError as error:
        result.error = error.as_dict()
    except OSError as error:
        failure = TransferError(Code.NETWORK, f"sending to {job.receiver}: {error.strerror or error}")
        result.error = failure.as_dict()
    result.seconds = time.monotonic() - started
    result.end = result.start + result.seconds
    result.cpu_s = cpu_seconds(resource.RUSAGE_THREAD) - cpu
    result.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if result.verified:
        result.goodput_bytes_per_s = (result.bytes - result.totals.resumed_bytes) / max(result.seconds, 1e-9)
    return result


def cpu_seconds(*who: int) -> float:
    """Processor time in user and in system mode so far, of a thread, this process, or its children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def _send(job: Job, key: bytes, result: Result, progress: Progress) -> None:
    with contextlib.closing(Source(job.path)) as source:
        check_name(source.name)
        check_label(job.label)
        result.bytes = source.size
        with contextlib.closing(SenderSocket(*parse_address(job.receiver))) as socket:
            _deliver(job, key, source, socket, result, progress)
        if job.sha256:
            result.sha256 = source.sha256()
            source.verify()
        result.verified = True


def _deliver(job: Job, key: bytes, source: Source, socket: SenderSocket, result: Result, progress: Progress) -> None:
    """Move datagrams between the core and the socket until the core says how it ended. Raises TransferError."""
    offer = Offer(0, source.size, source.source_id, job.label, source.name)
    delivery = Delivery(
        offer, source, key, lambda: socket.path_datagram_bytes, os.urandom, time.monotonic(), job.max_rate
    )
    samples = Samples(time.monotonic())
    shown = 0.0
    try:
        while not delivery.ended:
            if INTERRUPTED.is_set():
                delivery.abort(TransferError(Code.INTERRUPTED, "the sender was interrupted"))
            now = time.monotonic()
            sends = 0
            while sends < SENDS_PER_TURN and _transmit(delivery, socket, now):
                sends += 1
                now = time.monotonic()
            if not _receive(delivery, socket) and not sends and not delivery.ended:
                delivery.on_time(now)
                if not _flush(delivery, socket):
                    socket.wait(min(delivery.deadline(now) - now, MAX_WAIT_S))
            if now >= samples.due_at:
                samples.add(now, delivery.delivered_bytes)
            if now - shown >= PROGRESS_INTERVAL_S:
                shown = now
                progress(source.name, delivery.delivered_bytes, source.size)
    finally:
        _flush(delivery, socket)
        result.totals, result.segmentation = delivery.totals, socket.segmentation
        result.progress = samples.closed(time.monotonic(), delivery.delivered_bytes)
    if delivery.failure is not None:
        raise delivery.failure
    progress(source.name, source.size, source.size)


def _receive(delivery: Delivery, socket: SenderSocket) -> bool:
    """Hand over what has arrived; False when nothing had."""
    received = False
    while (datagram := socket.receive()) is not None:
        # The time is taken after the datagram: an earlier one would make round trips shorter than they are.
        delivery.receive(datagram, time.monotonic())
        received = True
    return received


def _transmit(delivery: Delivery, socket: SenderSocket, now: float) -> bool:
    """Send what the core allows now; False when there was nothing."""
    sent = _flush(delivery, socket)
    segments = delivery.next_segments(now)
    if segments is None:
        return sent
    if delivery.segments_vanish and socket.segmentation == "on":
        socket.segmentation = "off: segmented sends vanish on this path"
    socket.send_segments(segments.views, segments.datagram_bytes, segments.single)
    return True


def _flush(delivery: Delivery, socket: SenderSocket) -> bool:
    sent = False
    while (datagram := delivery.next_datagram()) is not None:
        socket.send(datagram)
        sent = True
    return sent
