"""The receiver's sessions as a state machine without I/O: offers, their sessions, and how these end.

The loop hands in bursts of datagrams and the time. Socket, disk, log, threads and random bytes are handed in too.
An offer that does not authenticate gets no answer. One that does may still be a replay, so until the peer proves that it
has the session's keys (any sealed message or whole record) nothing is written to disk.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import Code, TransferError
from . import wire
from .geometry import MIN_DATAGRAM_BYTES, Geometry
from .names import Address, format_address
from .noise import Handshake, NoiseError
from .receiver import BufferPool, Burst, Receiver, split
from .sealing import ControlChannel, RecordCipher, SessionKeys

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..events import EventLog

WINDOW_RECORDS = 512
"""Records above the lowest incomplete one: 31 MB, more than 2 Gbit/s over 100 ms."""
POOL_RECORDS = 600
"""Buffers for incomplete records of all sessions together: 37 MB."""
MAX_HALF_OPEN = 64
"""Whoever replays offers fills no more than these: the oldest gives way, and its sender offers again (docs/security.md)."""
MAX_ENDED = 1024
"""Of sessions whose CLOSE was lost the oldest gives way: memory."""
HALF_OPEN_S = 10.0
"""As long as a sender asks for an answer (`delivery.ANSWER_TIMEOUT_S`)."""
IDLE_S = 60.0
"""Longer than a sender that hears nothing goes on (`delivery`: SILENCE_S and REOFFER_TIMEOUT_S, 35 s)."""
TOMBSTONE_S = 60.0
"""An ended session still answers for as long: its last message may have been lost."""
SYNC_BYTES = 64 * 1024 * 1024
"""A crash of the receiver costs no more than this, ..."""
SYNC_S = 5.0
"""... or what came in this time. Each sync takes the disk from the writes, so it is not made more often."""
TIMER_S = 0.005
"""How exact timers are: the shortest is that of acknowledgements (`receiver.ACK_DELAY_S`), and to look at all sessions takes time."""
MAX_WAIT_S = 0.5
"""Where no acknowledgement is due, only timers of seconds wait."""
PROGRESS_INTERVAL_S = 0.2

Ranges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is on disk of an offered file already."""

    stored: Ranges = ()
    published: bool = False  # the whole of it, and the sender does not know yet

    def covers(self, stored: Ranges) -> bool:
        """Every record in ``stored`` is here."""
        return all(any(low <= first and last <= high for low, high in self.stored) for first, last in stored)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a receiver takes."""

    file_bytes: int | None = None
    total_bytes: int | None = None
    sessions: int = 64
    overwrite: bool = False


class _Incoming(Protocol):
    """What a session needs of `io.store.Incoming`."""

    def preallocate(self) -> None: ...
    def write(self, record: int, plain: memoryview) -> None: ...
    def take_unsynced(self) -> list[tuple[int, int]]: ...
    def sync(self, ranges: list[tuple[int, int]]) -> None: ...
    def publish(self) -> None: ...
    def close(self, keep: bool) -> None: ...


class _Store(Protocol):
    """What sessions need of `io.store.Store`."""

    def plan(self, offer: wire.Offer) -> Plan: ...
    def create(self, offer: wire.Offer, stored: Ranges) -> _Incoming: ...
    def sync_published(self, offer: wire.Offer) -> None: ...
    def discard(self, offer: wire.Offer) -> None: ...
    def sweep(self) -> None: ...


class _Socket(Protocol):
    """What sessions need of `io.udp.ReceiverSocket`."""

    receive_buffer_bytes: int
    receive_overflows: int

    def send(self, datagram: bytes, address: Address) -> None: ...
    def expect(self, segment_bytes: int) -> None: ...


class Phase(enum.Enum):
    """Where a session stands."""

    HALF_OPEN = "half open"
    RECEIVING = "receiving"
    PUBLISHING = "publishing"
    ENDED = "ended"


class _Session:
    """One offered file."""

    def __init__(
        self, number: int, address: Address, offer: wire.Offer, geometry: Geometry, stored: Ranges, now: float
    ) -> None:
        self.number = number
        self.address = address
        self.offer = offer
        self.geometry = geometry
        self.stored = stored[: wire.MAX_RANGES]  # what the sender is told
        self.phase = Phase.HALF_OPEN
        self.began_at = self.heard_at = self.synced_at = now
        self.finished = False  # the sender has confirmed its source
        self.leftovers = False  # the file is published, and what is left of its way here goes with this session
        self.keep = True
        self.incoming: _Incoming | None = None
        self.job: Future[None] | None = None
        self.unsynced_bytes = 0
        self.received_bytes = 0
        self.farewell: tuple[wire.Control, bytes]  # of an ended one
        self.token = b""
        self.answer = b""
        self.channel: ControlChannel
        self.receiver: Receiver

    @property
    def target(self) -> tuple[str, str]:
        """What the session writes."""
        return self.offer.label, self.offer.name

    def describe(self) -> dict[str, Any]:
        """The session as it appears in events."""
        return {"name": self.offer.name, "label": self.offer.label, "peer": format_address(self.address)}


class Sessions:
    """All sessions of one receiver.

    ``start`` does slow work on the disk elsewhere and calls `on_time` soon after it is done; ``random`` gives secret random bytes.
    """

    def __init__(
        self,
        socket: _Socket,
        store: _Store,
        limits: Limits,
        key: bytes,
        log: EventLog,
        start: Callable[[Callable[[], None]], Future[None]],
        random: Callable[[int], bytes],
    ) -> None:
        self._socket, self._store, self._limits = socket, store, limits
        self._log, self._start, self._random = log, start, random
        self._handshake = Handshake(key, wire.PROLOGUE)
        # Load the cryptography now: its first use takes ten times as long as any later one.
        self._handshake.responder().read(self._handshake.initiator(random(32)).write(b""))
        self._pool = BufferPool(POOL_RECORDS)
        self._sessions: dict[int, _Session] = {}
        self._by_token: dict[bytes, _Session] = {}
        self._timers_at = self._progress_at = 0.0
        self._sweep_at: float | None = None
        self.dropped = 0

    def wait_s(self) -> float:
        """After how many seconds to call `on_time` if nothing arrives before."""
        waiting = (s.receiver.ack_at for s in self._sessions.values() if s.phase is Phase.RECEIVING)
        return TIMER_S if any(due < math.inf for due in waiting) else MAX_WAIT_S

    def close(self, now: float) -> None:
        """Make what is half received durable, so that it can be resumed, and say goodbye. No disk job may be running."""
        for session in list(self._sessions.values()):
            session.finished = False  # no new disk jobs
            self._settle_job(session, now)
            session.leftovers = False  # who has not heard how it ended asks the next process
            if session.phase is Phase.RECEIVING and session.incoming is not None:
                end = TransferError(Code.INTERRUPTED, "the receiver was stopped")
                try:
                    session.incoming.sync(session.incoming.take_unsynced())
                except TransferError as error:
                    end = error
                self._fail(session, end, now)
            self._forget(session)

    # ------------------------------------------------------------- what arrives

    def on_burst(self, burst: Burst, address: Address, now: float) -> None:
        """Datagrams arrived; whatever they are, no error comes out."""
        if not burst.datagrams:
            self.dropped += 1
            return
        for piece in split(burst):
            try:
                kind = piece.headers[0]
                if kind == wire.Kind.DATA:
                    self._on_data_untrusted(piece, address, now)
                elif kind == wire.Kind.CONTROL:
                    self._on_control_untrusted(bytes(piece.headers) + bytes(piece.payload), address, now)
                elif kind == wire.Kind.OFFER:
                    self._on_offer_untrusted(bytes(piece.headers) + bytes(piece.payload), address, now)
                else:
                    raise wire.BadDatagram("unknown kind")
            except wire.BadDatagram:
                self.dropped += piece.datagrams

    def _on_data_untrusted(self, burst: Burst, address: Address, now: float) -> None:
        session = self._sessions.get(int.from_bytes(burst.headers[4:8], "big"))
        if session is None or session.address != address:
            raise wire.BadDatagram("segment: of no session")
        if session.phase is Phase.ENDED:
            return
        receiver = session.receiver
        completed = receiver.receive_untrusted(burst, now)
        session.heard_at = now
        if completed is not None:
            if self._confirm(session, now):
                self._write(session, *completed, now)
            else:
                # The record is gone: only a new session can bring it again.
                self._fail(session, TransferError(Code.BUSY, "another session writes this file"), now)
        if receiver.ack_at <= now and self._may_answer(session, burst):
            self._acknowledge(session, now)

    @staticmethod
    def _may_answer(session: _Session, burst: Burst) -> bool:
        """Whoever has not proved yet to be the peer gets no more bytes than it sent: no acknowledgement is longer."""
        return session.phase is not Phase.HALF_OPEN or len(burst.headers) + len(burst.payload) >= MIN_DATAGRAM_BYTES

    def _on_control_untrusted(self, datagram: bytes, address: Address, now: float) -> None:
        session = self._sessions.get(int.from_bytes(datagram[4:8], "big"))
        if session is None:
            raise wire.BadDatagram("control: of no session")
        control, body = session.channel.open_untrusted(datagram)
        session.heard_at = now
        session.address = address  # authentic: the peer may have moved behind its NAT
        if session.phase is Phase.ENDED:
            if control is wire.Control.CLOSE:
                self._forget(session)
            else:
                self._send(session, *session.farewell)
            return
        if control is wire.Control.ABORT:
            error = wire.refuse_untrusted(body)
            failure = TransferError(error.code, f"the sender gave up: {error.message}")
            self._fail(session, failure, now, keep=error.code is not Code.SOURCE_CHANGED)
        elif control in (wire.Control.PING, wire.Control.FINISH, wire.Control.DIGESTS) and self._confirm(session, now):
            session.finished |= control is wire.Control.FINISH
            if control is wire.Control.DIGESTS:
                completed = session.receiver.digests(*wire.digests_untrusted(body))
                if completed is not None:
                    self._write(session, *completed, now)
            self._acknowledge(session, now)
            self._publish_if_whole(session)

    def _on_offer_untrusted(self, datagram: bytes, address: Address, now: float) -> None:
        message = wire.offer_message_untrusted(datagram)
        token = message[: wire.TOKEN_BYTES]
        known = self._by_token.get(token)
        if known is not None:
            # The same offer again: our answer was lost, or somebody replays it. Same bytes, no new state.
            if known.phase is Phase.HALF_OPEN:
                known.address = address  # the peer may have moved behind its NAT; it has to prove itself anyway
            self._socket.send(known.answer, address)
            return
        responder = self._handshake.responder()
        try:
            offer = wire.offer_untrusted(responder.read(message))
            number, session = self._new_number(), None
            try:
                session = self._consider(number, offer, address, now)
                accept = wire.Accept(number, self._socket.receive_buffer_bytes, WINDOW_RECORDS, session.stored)
                payload = wire.accept_payload(accept)
            except TransferError as error:
                payload = wire.refuse_payload(error)
                self._log.emit("refused", name=offer.name, label=offer.label, error=error.as_dict())
            reply = wire.answer_datagram(token, responder.write(payload, self._random(32)))
        except NoiseError as error:
            raise wire.BadDatagram("offer: not authentic") from error
        if session is not None:
            self._open(session, token, reply, SessionKeys(*responder.split()))
        self._socket.send(reply, address)

    # ---------------------------------------------------------------- sessions

    def _consider(self, number: int, offer: wire.Offer, address: Address, now: float) -> _Session:
        """A session for the offer. Raises TransferError when it is refused."""
        try:
            geometry = Geometry(offer.file_bytes, offer.datagram_bytes)
        except ValueError as error:
            raise TransferError(Code.PROTOCOL, str(error)) from error
        return _Session(number, address, offer, geometry, self._plan(offer).stored, now)

    def _plan(self, offer: wire.Offer) -> Plan:
        """What is here of the offered file: known to a session of this process, or else found on disk.

        Only one that begins to write counts as one more: not who goes on with a session, or asks how it ended.
        """
        writer = self._writer(offer)
        if writer is None:
            plan = self._store.plan(offer)
            active = sum(s.phase in (Phase.RECEIVING, Phase.PUBLISHING) for s in self._sessions.values())
            if active >= self._limits.sessions and not plan.published:
                raise TransferError(Code.TOO_MANY_SESSIONS, f"{active} transfers are under way")
            return plan
        if writer.offer.source_id != offer.source_id:
            raise TransferError(Code.BUSY, f"'{offer.name}' is being received already")
        return Plan(writer.receiver.complete_ranges())

    def _writer(self, offer: wire.Offer) -> _Session | None:
        """The session that has the offered file's place on disk open and is not done with it."""
        for session in self._sessions.values():
            if session.target == (offer.label, offer.name) and session.incoming is not None:
                return session
        return None

    def _new_number(self) -> int:
        while True:
            number = int.from_bytes(self._random(4), "big")
            if number not in self._sessions:
                return number

    def _open(self, session: _Session, token: bytes, answer: bytes, keys: SessionKeys) -> None:
        self._make_room(Phase.HALF_OPEN, MAX_HALF_OPEN - 1)
        session.token, session.answer = token, answer
        session.channel = ControlChannel(session.number, keys.to_sender, keys.to_receiver)
        cipher = RecordCipher(keys.record)
        session.receiver = Receiver(session.geometry, cipher, self._pool, WINDOW_RECORDS, session.stored)
        self._sessions[session.number] = session
        self._by_token[token] = session

    def _confirm(self, session: _Session, now: float) -> bool:
        """The peer has the session's keys: only now touch the disk. False when the session cannot go on (yet)."""
        if session.phase is not Phase.HALF_OPEN:
            return session.phase is not Phase.ENDED
        try:
            # Again, since much may have happened since the offer.
            plan, writer = self._plan(session.offer), self._writer(session.offer)
            if plan.published:
                session.phase = Phase.PUBLISHING
                session.job = self._start(lambda: self._store.sync_published(session.offer))
                return True
            if not plan.covers(session.stored):
                raise TransferError(Code.BUSY, "another session has changed what is stored of this file")
            if writer is None:
                self._create(session)
            elif writer.phase is Phase.RECEIVING:
                self._take_over(session, writer)
            else:
                return False  # the sender asks again
        except TransferError as error:
            self._fail(session, error, now)
            return False
        session.phase = Phase.RECEIVING
        session.synced_at = now
        self._socket.expect(session.geometry.segment_bytes)
        resumed = sum(last - first + 1 for first, last in session.stored)
        self._log.emit("accepted", **session.describe(), bytes=session.offer.file_bytes, resumed_records=resumed)
        return True

    def _create(self, session: _Session) -> None:
        for other in self._sessions.values():
            if other.target == session.target:
                other.leftovers = False  # published, and now somebody replaces it
        session.incoming = self._store.create(session.offer, session.stored)
        session.job = self._start(session.incoming.preallocate)

    def _take_over(self, session: _Session, writer: _Session) -> None:
        """The same file from a sender that started again or lost us for a while: go on with the same open file."""
        session.incoming, writer.incoming = writer.incoming, None
        session.job, writer.job = writer.job, None
        session.unsynced_bytes = writer.unsynced_bytes
        self._forget(writer)

    def _write(self, session: _Session, record: int, plain: memoryview, now: float) -> None:
        if session.incoming is None:
            return
        try:
            session.incoming.write(record, plain)
        except TransferError as error:
            # A full disk stops the transfer, not the host: what it has is given back.
            self._fail(session, error, now, keep=error.code is not Code.DISK_FULL)
            return
        session.unsynced_bytes += len(plain)
        session.received_bytes += len(plain)
        self._publish_if_whole(session)

    def _acknowledge(self, session: _Session, now: float) -> None:
        if session.phase is not Phase.ENDED:
            ack = session.receiver.ack(now, self._socket.receive_overflows)
            self._send(session, wire.Control.ACK, wire.ack_body(ack))

    def _send(self, session: _Session, control: wire.Control, body: bytes = b"") -> None:
        self._socket.send(session.channel.seal(control, body), session.address)

    def _make_room(self, phase: Phase, limit: int) -> None:
        """Of sessions that cost their peer little, only so many are kept: the oldest gives way."""
        idle = [s for s in self._sessions.values() if s.phase is phase and s.job is None]
        for session in idle[: max(len(idle) - limit, 0)]:  # in the order in which they were opened
            self._forget(session)

    # ------------------------------------------------------- disk, time, endings

    def _publish_if_whole(self, session: _Session) -> None:
        incoming = session.incoming
        whole = session.receiver.complete and session.finished
        if session.phase is Phase.RECEIVING and whole and incoming is not None and session.job is None:
            session.phase = Phase.PUBLISHING
            session.job = self._start(incoming.publish)

    def _settle_job(self, session: _Session, now: float) -> None:
        """Take the result of the session's finished disk job."""
        job = session.job
        if job is None or not job.done():
            return
        session.job = None
        error = job.exception()
        if session.phase is Phase.ENDED:
            self._close_file(session)
        elif error is not None:
            failure = error if isinstance(error, TransferError) else TransferError(Code.INTERNAL, repr(error))
            self._fail(session, failure, keep=failure.code not in (Code.FILE_EXISTS, Code.DISK_FULL), now=now)
        elif session.phase is Phase.PUBLISHING:
            session.leftovers = True
            self._log_stored(session, now)
            self._end(session, wire.Control.DONE, b"", now)
            self._close_file(session)
        else:
            self._publish_if_whole(session)

    def _log_stored(self, session: _Session, now: float) -> None:
        statistics, seconds = session.receiver.statistics, now - session.began_at
        self._log.emit(
            "stored",
            **session.describe(),
            bytes=session.offer.file_bytes,
            seconds=round(seconds, 6),
            goodput_bytes_per_s=round(session.received_bytes / max(seconds, 1e-9)),
            datagram_bytes=session.offer.datagram_bytes,
            datagrams=statistics.datagrams,
            duplicate_datagrams=statistics.duplicate_datagrams,
            bad_records=statistics.bad_records,
            receive_overflows=self._socket.receive_overflows,
        )

    def _fail(self, session: _Session, error: TransferError, now: float, keep: bool = True) -> None:
        """End the session with an error; ``keep`` leaves the partial file for a later resume."""
        if session.phase is Phase.ENDED:
            return
        self._log.emit("failed", **session.describe(), error=error.as_dict())
        session.keep = keep
        self._end(session, wire.Control.ABORT, wire.refuse_payload(error), now)
        self._close_file(session)

    def _end(self, session: _Session, control: wire.Control, body: bytes, now: float) -> None:
        session.phase = Phase.ENDED
        session.heard_at = now
        session.farewell = (control, body)
        session.receiver.close()
        for _ in range(2):  # were one lost alone, the peer would wait for the answer to a probe
            self._send(session, control, body)
        self._make_room(Phase.ENDED, MAX_ENDED)

    def _close_file(self, session: _Session) -> None:
        """Close the session's file, unless a disk job still uses it: `_settle_job` comes back here."""
        if session.job is None and session.incoming is not None:
            session.incoming.close(session.keep)
            session.incoming = None

    def _forget(self, session: _Session) -> None:
        session.receiver.close()
        if session.leftovers and self._writer(session.offer) is None:
            self._store.discard(session.offer)
        self._close_file(session)
        self._sessions.pop(session.number, None)
        self._by_token.pop(session.token, None)

    def on_time(self, now: float, job_done: bool = False) -> None:
        """Time has passed, or a disk job is done."""
        if now < self._timers_at and not job_done:
            return
        self._timers_at = now + TIMER_S
        if self._sweep_at is None:
            self._sweep_at = now + TOMBSTONE_S  # until then senders may ask how it ended
        elif now >= self._sweep_at:
            self._sweep_at = math.inf
            self._start(self._store.sweep)
        show = now >= self._progress_at
        if show:
            self._progress_at = now + PROGRESS_INTERVAL_S
        for session in list(self._sessions.values()):
            self._settle_job(session, now)
            self._age(session, now)
            if session.phase is Phase.RECEIVING:
                self._sync_if_due(session, now)
                if session.receiver.ack_at <= now:
                    self._acknowledge(session, now)
                if show:
                    self._log.progress(session.offer.name, session.received_bytes, session.offer.file_bytes)

    def _age(self, session: _Session, now: float) -> None:
        silent = now - session.heard_at
        if (session.phase is Phase.HALF_OPEN and silent > HALF_OPEN_S) or (
            session.phase is Phase.ENDED and silent > TOMBSTONE_S and session.job is None
        ):
            self._forget(session)
        elif session.phase is Phase.RECEIVING and silent > IDLE_S:
            self._fail(session, TransferError(Code.PEER_SILENT, f"nothing came for {IDLE_S:.0f} seconds"), now)

    def _sync_if_due(self, session: _Session, now: float) -> None:
        incoming = session.incoming
        due = session.unsynced_bytes >= SYNC_BYTES or now - session.synced_at >= SYNC_S
        if incoming is None or session.job is not None or not session.unsynced_bytes or not due:
            return
        session.unsynced_bytes = 0
        session.synced_at = now
        ranges = incoming.take_unsynced()
        session.job = self._start(lambda: incoming.sync(ranges))
