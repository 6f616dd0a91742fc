"""The sender's loop: joins the core to a socket and a file. One blocking call sends one file to one receiver."""

from __future__ import annotations

import dataclasses
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from ..core import wire
from ..core.congestion import Congestion
from ..core.geometry import MAX_DATAGRAM_BYTES, MIN_DATAGRAM_BYTES, RECORD_BYTES, SEALED_BYTES, Geometry
from ..core.noise import Handshake, Initiator, NoiseError
from ..core.recovery import RoundTrip
from ..core.sealing import ControlChannel, RecordCipher, SessionKeys
from ..core.sender import Send, Sender, State
from ..errors import Code, TransferError
from .source import Source
from .store import check_label, check_name
from .udp import SegmentTable, SenderSocket, parse_address

ANSWER_TIMEOUT_S = 10.0
"""How long an offer waits for an answer; a receiver that is not there sends none."""
OFFER_INTERVAL_S = 0.25
"""Offers are repeated this often, with doubling intervals up to a second (RFC 8085 section 3.1.1 asks for back-off)."""
MAX_OFFER_INTERVAL_S = 1.0
SILENCE_S = 5.0
"""When nothing is heard for this long, the file is offered again: the receiver may have restarted, or the path changed."""
REOFFER_TIMEOUT_S = 30.0
"""How long it is offered again before the transfer fails; shorter black-outs are survived."""
SENDS_PER_TURN = 8
"""So many sends may leave before the loop looks for acknowledgements."""
PROGRESS_INTERVAL_S = 0.2
COMMON_DATAGRAM_BYTES = (1_452, MIN_DATAGRAM_BYTES)
"""Tried after the first hop's own size: IPv6 on Ethernet, then what every path carries."""

ATTEMPT_BYTES = 8
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
    resumed_bytes: int = 0
    sessions: int = 1
    datagrams: int = 0
    datagram_bytes: int = 0
    retransmitted_bytes: int = 0
    lost_datagrams: int = 0
    bad_records: int = 0
    receive_overflows: int = 0
    rtt_s: float = 0.0
    rtt_smoothed_s: float = 0.0
    segmentation: str = ""
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    error: dict[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as it appears in JSON."""
        return dataclasses.asdict(self)


def send_file(job: Job, key: bytes, progress: Progress) -> Result:
    """Send one file and wait until the receiver has it on disk. A failure is told in ``error``, not raised."""
    result = Result(file=os.path.basename(job.path), receiver=job.receiver, start=time.time())
    started, cpu = time.monotonic(), _cpu_seconds()
    try:
        _send(job, key, result, progress)
    except TransferError as error:
        result.error = error.as_dict()
    except OSError as error:
        failure = TransferError(Code.NETWORK, f"sending to {job.receiver}: {error.strerror or error}")
        result.error = failure.as_dict()
    result.seconds = time.monotonic() - started
    result.end = result.start + result.seconds
    result.cpu_s = _cpu_seconds() - cpu
    result.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if result.verified:
        result.goodput_bytes_per_s = (result.bytes - result.resumed_bytes) / max(result.seconds, 1e-9)
    return result


def _check_interrupted() -> None:
    if INTERRUPTED.is_set():
        raise TransferError(Code.INTERRUPTED, "the sender was interrupted")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime


def _send(job: Job, key: bytes, result: Result, progress: Progress) -> None:
    source = Source(job.path)
    try:
        check_name(source.name)
        check_label(job.label)
        result.bytes = source.size
        socket = SenderSocket(*parse_address(job.receiver))
        try:
            _deliver(job, key, source, socket, result, progress)
        finally:
            socket.close()
        if job.sha256:
            result.sha256 = source.sha256()
            source.verify()
        result.verified = True
    finally:
        source.close()


def _deliver(job: Job, key: bytes, source: Source, socket: SenderSocket, result: Result, progress: Progress) -> None:
    """Send the file in one session, or in several when the receiver falls silent on the way."""
    attempt = os.urandom(ATTEMPT_BYTES)
    timeout = ANSWER_TIMEOUT_S
    failure = TransferError(Code.NO_ANSWER, f"no answer from {job.receiver} within {timeout:.0f} seconds")
    while True:
        opened = _open_session(_Offers(job, key, source, attempt, socket), timeout)
        if opened is None:
            raise failure
        session = _Session(job, source, socket, opened)
        try:
            session.run(progress)
            return
        except TransferError as error:
            if error.code is not Code.PEER_SILENT:
                raise
            failure, timeout = error, REOFFER_TIMEOUT_S
            result.sessions += 1
        finally:
            session.report(result)


@dataclasses.dataclass(frozen=True)
class _Opened:
    """An accepted offer."""

    accept: wire.Accept
    keys: SessionKeys
    datagram_bytes: int
    rtt_s: float


class _Offers:
    """The file, offered with datagrams of several sizes: the largest that is answered is used (RFC 8899 in one trip)."""

    def __init__(self, job: Job, key: bytes, source: Source, attempt: bytes, socket: SenderSocket) -> None:
        self._handshake = Handshake(key, wire.PROLOGUE)
        self._job, self._source, self._attempt, self._socket = job, source, attempt, socket
        first = max(min(socket.path_datagram_bytes, MAX_DATAGRAM_BYTES), MIN_DATAGRAM_BYTES)
        self._sizes = [first, *(size for size in COMMON_DATAGRAM_BYTES if size < first)]
        self._made: list[tuple[Initiator, bytes, int]] = []
        self._sent_at: dict[bytes, float] = {}

    def send(self) -> None:
        """Send all offers made so far and one of a smaller size."""
        if self._sizes:
            size = self._sizes.pop(0)
            source, initiator = self._source, self._handshake.initiator(os.urandom(32))
            offer = wire.Offer(size, source.size, source.source_id, self._attempt, self._job.label, source.name)
            datagram = wire.offer_datagram(initiator.write(wire.offer_payload(offer)))
            self._made.append((initiator, datagram, size))
        for initiator, datagram, _ in self._made:
            self._sent_at[initiator.public] = time.monotonic()
            self._socket.send(datagram)

    def wait(self, seconds: float) -> None:
        """Wait for an answer, at most ``seconds``."""
        self._socket.wait(seconds)

    def receive(self) -> _Opened | None:
        """The session that an answer opens, or None when nothing useful is there. Raises TransferError when refused."""
        datagram = self._socket.receive()
        if datagram is None:
            return None
        for initiator, _, size in self._made:
            try:
                token, message = wire.answer_message_untrusted(datagram)
                if token != initiator.public[: wire.TOKEN_BYTES]:
                    continue
                answer = wire.answer_untrusted(initiator.read(message))
            except (wire.BadDatagram, NoiseError):
                continue
            if isinstance(answer, wire.Refuse):
                raise TransferError(answer.code, f"the receiver refused: {answer.text}")
            rtt = time.monotonic() - self._sent_at[initiator.public]
            return _Opened(answer, SessionKeys(*initiator.split()), size, rtt)
        return None


def _open_session(offers: _Offers, timeout: float) -> _Opened | None:
    """Offer the file until the receiver answers, at most ``timeout`` seconds. Raises TransferError when it refuses."""
    deadline = time.monotonic() + timeout
    interval = OFFER_INTERVAL_S
    while (now := time.monotonic()) < deadline:
        _check_interrupted()
        offers.send()
        until = min(now + interval, deadline)
        while (left := until - time.monotonic()) > 0:
            opened = offers.receive()
            if opened is not None:
                return opened
            offers.wait(left)
        interval = min(interval * 2, MAX_OFFER_INTERVAL_S)
    return None


class _SealedRecords:
    """Sealed records in flight: each is read and sealed once, and its buffer kept until it is acknowledged."""

    def __init__(self, source: Source, geometry: Geometry, cipher: RecordCipher, table: SegmentTable) -> None:
        self._source = source
        self._geometry = geometry
        self._cipher = cipher
        self._table = table
        self._plain = memoryview(bytearray(SEALED_BYTES))
        self._free: list[tuple[memoryview, list[memoryview]]] = []
        self._used: dict[int, tuple[memoryview, list[memoryview]]] = {}
        self.sealed = 0

    def segments(self, record: int) -> list[memoryview]:
        """Header and payload views of all segments of ``record``. Raises TransferError (source)."""
        used = self._used.get(record)
        if used is None:
            used = self._used[record] = self._seal(record)
        return used[1]

    def _seal(self, record: int) -> tuple[memoryview, list[memoryview]]:
        plain = self._plain[: self._geometry.plain_bytes(record)]
        self._source.read(record, plain)
        if record == self._geometry.records - 1:  # may be shorter: has views of its own
            buffer = memoryview(bytearray(self._geometry.sealed_bytes(record)))
            pairs = self._table.pairs(buffer)
        elif self._free:
            buffer, pairs = self._free.pop()
        else:
            buffer = memoryview(bytearray(SEALED_BYTES))
            pairs = self._table.pairs(buffer)
        self._cipher.seal(record, plain, buffer)
        self.sealed += 1
        return buffer, pairs

    def release(self, record: int) -> None:
        """The record is at the receiver: its buffer may serve another one."""
        used = self._used.pop(record, None)
        if used is not None and len(used[0]) == SEALED_BYTES:
            self._free.append(used)


class _Session:
    """One accepted transfer: moves segments from the source to the socket until the core says how it ended."""

    def __init__(self, job: Job, source: Source, socket: SenderSocket, opened: _Opened) -> None:
        now = time.monotonic()
        self._source = source
        self._socket = socket
        self._geometry = Geometry(source.size, opened.datagram_bytes)
        self._table = SegmentTable(opened.accept.session, self._geometry.segment_bytes)
        cipher = RecordCipher(opened.keys.record)
        self._records = _SealedRecords(source, self._geometry, cipher, self._table)
        channel = ControlChannel(opened.accept.session, opened.keys.to_receiver, opened.keys.to_sender)
        congestion = Congestion(
            now, opened.rtt_s, opened.datagram_bytes, opened.accept.receive_buffer_bytes, job.max_rate
        )
        stored = [(first, min(last, self._geometry.records - 1)) for first, last in opened.accept.stored]
        self._resumed = min(
            sum(self._geometry.plain_bytes(last) + (last - first) * RECORD_BYTES for first, last in stored),
            source.size,
        )
        self._sender = Sender(
            self._geometry, opened.accept, channel, congestion, RoundTrip(opened.rtt_s), now, SILENCE_S
        )
        self._to_seal = self._geometry.records - sum(last - first + 1 for first, last in stored)
        self._source_checked = False
        self._done_bytes = self._resumed

    def run(self, progress: Progress) -> None:
        """Send until the receiver has published the file. Raises TransferError."""
        sender = self._sender
        shown = 0.0
        try:
            while sender.state in (State.SENDING, State.WAITING):
                _check_interrupted()
                now = time.monotonic()
                sends = 0
                while sends < SENDS_PER_TURN and self._transmit(now):
                    sends += 1
                    now = time.monotonic()
                if not self._receive(now) and not sends:
                    sender.on_time(now)
                    self._socket.wait(min(sender.deadline(now) - now, MAX_WAIT_S))
                if now - shown >= PROGRESS_INTERVAL_S:
                    shown = now
                    progress(self._source.name, self._done_bytes, self._source.size)
        except TransferError as error:
            sender.abort(error)
            raise
        finally:
            self._flush_controls()
        if sender.failure is not None:
            raise sender.failure
        progress(self._source.name, self._source.size, self._source.size)

    def report(self, result: Result) -> None:
        """Add the session's counters to ``result``."""
        statistics, round_trip = self._sender.statistics, self._sender.round_trip
        if result.sessions == 1:
            result.resumed_bytes = self._resumed
        result.datagrams += statistics.datagrams
        result.datagram_bytes = self._geometry.datagram_bytes
        result.retransmitted_bytes += statistics.retransmitted_datagrams * self._geometry.segment_bytes
        result.lost_datagrams += statistics.lost_datagrams
        result.bad_records += statistics.bad_records
        result.receive_overflows = statistics.overflows
        result.rtt_s = round_trip.smallest
        result.rtt_smoothed_s = round_trip.smoothed
        result.segmentation = self._socket.segmentation

    def _receive(self, now: float) -> bool:
        """Hand over what has arrived; False when nothing had."""
        received = False
        while (datagram := self._socket.receive()) is not None:
            self._sender.receive(datagram, now)
            received = True
        for record in self._sender.released:
            self._records.release(record)
            self._done_bytes += self._geometry.plain_bytes(record)
        self._sender.released.clear()
        return received

    def _transmit(self, now: float) -> bool:
        """Send what the core allows now; False when there was nothing."""
        if self._records.sealed == self._to_seal and not self._source_checked:
            self._check_source()
        sent = self._flush_controls()
        send = self._sender.next_send(now)
        if send is None:
            return sent
        segments = self._records.segments(send.record)
        self._table.stamp(send.record, send.number, send.flags)
        if self._sender.segments_vanish and self._socket.segmentation == "on":
            self._socket.segmentation = "off: segmented sends vanish on this path"
        self._socket.send_segments(_select(segments, send), self._geometry.datagram_bytes, single=send.probe)
        return True

    def _flush_controls(self) -> bool:
        sent = False
        while (datagram := self._sender.next_control()) is not None:
            self._socket.send(datagram)
            sent = True
        return sent

    def _check_source(self) -> None:
        """Every record is sealed: the source must still be the file that was offered."""
        self._source_checked = True
        self._source.verify()
        self._sender.source_verified()


def _select(segments: list[memoryview], send: Send) -> list[memoryview]:
    """The header and payload views of the segments in the send's mask."""
    mask = send.mask
    first = (mask & -mask).bit_length() - 1
    last = mask.bit_length()
    if mask >> first == (1 << (last - first)) - 1:
        return segments[2 * first : 2 * last]
    return [view for index in range(first, last) if mask >> index & 1 for view in segments[2 * index : 2 * index + 2]]
