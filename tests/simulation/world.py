"""Both ends of transfers as they are, but for their clocks, sockets and disks: the cores and the real store in virtual time.

A `World` has one receiver, any number of sends, and a network between them. Either end may crash at any event, the receiver also in
the middle of any call to its disk. What must hold at all times is checked on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Self
from unittest import mock

from udpxfer.core import wire
from udpxfer.core.delivery import Delivery
from udpxfer.core.geometry import RECORD_BYTES
from udpxfer.core.names import HIDDEN_PREFIX, Address
from udpxfer.core.receiver import Burst
from udpxfer.core.sessions import MAX_ENDED, MAX_HALF_OPEN, Limits, Phase, Sessions
from udpxfer.errors import Code, TransferError
from udpxfer.events import EventLog
from udpxfer.io import store, udp

from .disk import Crash, SimulatedDisk
from .network import Clock, Link, Path

RECEIVER_BUFFER_BYTES = 425_984
DISK_DELAY_S = 0.01
SENDS_PER_TURN = 8
MAX_WAIT_S = 0.5
GRO_SEGMENTS = 64
PERFECT = Path()


class MemorySource:
    """A file to send; `change` is what happens when somebody writes to it meanwhile."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.changed = False

    def read(self, record: int, into: memoryview) -> None:
        piece = self.content[record * RECORD_BYTES : record * RECORD_BYTES + len(into)]
        if len(piece) != len(into):
            raise TransferError(Code.SOURCE_CHANGED, "shorter than it was")
        into[:] = piece

    def verify(self) -> None:
        if self.changed:
            raise TransferError(Code.SOURCE_CHANGED, "changed")

    def change(self, size: int) -> None:
        self.content = self.content[:size]
        self.changed = True


@dataclasses.dataclass
class Job:
    """What one `send` sends."""

    content: bytes
    name: str = "file"
    label: str = ""
    there: Path = PERFECT
    back: Path = PERFECT
    first_hop_bytes: int = 1472
    max_rate: float | None = None
    key: bytes | None = None


class Send:
    """A running `send`: its loop is that of `io.client`, driven by virtual time."""

    def __init__(self, world: World, job: Job, address: Address) -> None:
        self.job, self.address = job, address
        self._world = world
        self.source = MemorySource(job.content)
        self.there = world.link(job.there, self._arrive)
        self.back = world.link(job.back, self._on_datagrams)
        source_id = random.Random(job.content).randbytes(16)
        offer = wire.Offer(0, len(job.content), source_id, job.label, job.name)
        now = world.clock.now
        self.delivery = Delivery(
            offer,
            self.source,
            job.key or world.key,
            lambda: job.first_hop_bytes,
            world.rng.randbytes,
            now,
            job.max_rate,
        )
        self.killed = False
        self.began_at, self.ended_at = now, 0.0
        self._wake_at = -1.0
        self.swallow_segmented = False
        self._turn()

    @property
    def done(self) -> bool:
        return self.delivery.done

    @property
    def running(self) -> bool:
        return not self.killed and not self.delivery.ended

    def move(self, address: Address) -> None:
        """A NAT on the way gives the send another address."""
        self.address = address

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.delivery.abort(TransferError(Code.INTERRUPTED, "interrupted"))
        self._turn()

    def _arrive(self, datagrams: list[bytes]) -> None:
        self._world.receive(datagrams, self.address)

    def _on_datagrams(self, datagrams: list[bytes]) -> None:
        if self.running:
            for datagram in datagrams:
                self.delivery.receive(datagram, self._world.clock.now)
            self._turn()

    def _wake(self, at: float) -> None:
        if at == self._wake_at:
            self._turn()

    def _turn(self) -> None:
        """Send what may leave, else let time pass, as `io.client` does."""
        if self.killed:
            return
        clock, delivery = self._world.clock, self.delivery
        sends = 0
        while sends < SENDS_PER_TURN and self._transmit():
            sends += 1
        wait = 0.0
        if not sends and not delivery.ended:
            delivery.on_time(clock.now)
            if not self._flush() and not delivery.ended:
                wait = min(delivery.deadline(clock.now) - clock.now, MAX_WAIT_S)
        if delivery.ended:
            self._wake_at = -1.0
            self.ended_at = clock.now
            self._flush()
            self._world.on_end(self)
            return
        # A host is late by some microseconds, so that time goes on.
        at = self._wake_at = clock.now + max(wait, 0.0) + 2e-6
        clock.at(at, lambda: self._wake(at))

    def _transmit(self) -> bool:
        sent = self._flush()
        segments = self.delivery.next_segments(self._world.clock.now)
        if segments is None:
            return sent
        self._check_window(segments.single)
        views = segments.views
        datagrams = [bytes(views[index]) + bytes(views[index + 1]) for index in range(0, len(views), 2)]
        assert all(len(datagram) == segments.datagram_bytes for datagram in datagrams[:-1])
        assert len(datagrams[-1]) <= segments.datagram_bytes
        if not (self.swallow_segmented and not segments.single and not self.delivery.segments_vanish):
            self.there.send(datagrams)
        return True

    def _check_window(self, probe: bool) -> None:
        """Bytes in flight stay within the window, but for one datagram that is always allowed, and probes."""
        session = self.delivery._session
        assert session is not None
        sender, size = session.sender, session._geometry.datagram_bytes
        assert probe or sender._flying_segments * size <= max(sender.congestion.window, size), (
            "in flight beyond the window"
        )
        assert len(session._records._used) <= sender._window_end - sender._cumulative, "records kept beyond the window"

    def _flush(self) -> bool:
        sent = False
        while (datagram := self.delivery.next_datagram()) is not None:
            self.there.send([datagram])
            sent = True
        return sent


class Silence(EventLog):
    """A log that nobody reads."""

    def __init__(self) -> None:
        """Keep nothing."""

    def emit(self, event: str, **fields: Any) -> None:
        """Say nothing."""


class Receiver:
    """A running receiver: its loop is that of `io.server`, driven by virtual time. It is also the socket of its sessions."""

    receive_buffer_bytes = RECEIVER_BUFFER_BYTES
    receive_overflows = 0

    def __init__(self, world: World) -> None:
        self._world = world
        self.alive = True
        self._request: tuple[int, Address] | None = None
        self._wake_at = -1.0
        self.log = Silence()
        self.jobs: list[Callable[[], None]] = []
        self.store = store.Store("into", world.limits)
        self.sessions = Sessions(self, self.store, world.limits, world.key, self.log, self.start, world.rng.randbytes)
        self._schedule()

    # The loop

    def on_datagrams(self, datagrams: list[bytes], address: Address) -> None:
        for burst, size in self._bursts(datagrams):
            self._request = (size, address)
            self.sessions.on_burst(burst, address, self._world.clock.now)
            self._request = None
        self.sessions.on_time(self._world.clock.now)
        self._schedule()

    def _bursts(self, datagrams: list[bytes]) -> Iterator[tuple[Burst, int]]:
        """Datagrams as UDP_GRO delivers them: equal sizes together, the last may be shorter."""
        index = 0
        while index < len(datagrams):
            size, last = len(datagrams[index]), index
            while last + 1 < min(len(datagrams), index + GRO_SEGMENTS) and len(datagrams[last]) == size:
                if len(datagrams[last + 1]) > size or (last + 2 - index) * size > 65_507:
                    break
                last += 1
            group = datagrams[index : last + 1]
            yield udp._deinterleave(b"".join(group), size), sum(map(len, group))
            index = last + 1

    def _schedule(self) -> None:
        at = self._world.clock.now + self.sessions.wait_s()
        if not self._world.clock.now < self._wake_at <= at:
            self._wake_at = at
            self._world.clock.at(at, lambda: self._world.in_receiver(self, lambda: self._wake(at)))

    def _wake(self, at: float) -> None:
        if at == self._wake_at:
            self._wake_at = -1.0
            self.sessions.on_time(self._world.clock.now)
            self._check_memory()
            self._schedule()

    def _check_memory(self) -> None:
        sessions = list(self.sessions._sessions.values())
        assert sum(s.phase is Phase.HALF_OPEN for s in sessions) <= MAX_HALF_OPEN
        assert sum(s.phase is Phase.ENDED for s in sessions) <= MAX_ENDED + 1
        assert sum(s.incoming is not None for s in sessions) <= self._world.limits.sessions * 2
        lent = sum(len(s.receiver._partial) for s in sessions)
        pool = self.sessions._pool
        assert lent + len(pool._free) + pool._unused == self._world.pool_records, "a buffer is lost"

    # What sessions ask for

    def send(self, datagram: bytes, address: Address) -> None:
        if datagram[0] == wire.Kind.ANSWER or self._half_open(datagram):
            assert self._request is not None, "an unasked datagram to somebody who has not proved anything"
            size, source = self._request
            assert address == source, "an answer to somebody else"
            assert len(datagram) <= size, "an answer larger than the request"
        self._world.answer(datagram, address)

    def _half_open(self, datagram: bytes) -> bool:
        return self.sessions._sessions[int.from_bytes(datagram[4:8], "big")].phase is Phase.HALF_OPEN

    def expect(self, segment_bytes: int) -> None:
        """The layout of real buffers."""

    def start(self, work: Callable[[], None]) -> Future[None]:
        job: Future[None] = Future()
        world = self._world
        delay = world.rng.random() * DISK_DELAY_S
        task = functools.partial(world.in_receiver, self, lambda: self._work(job, work))
        world.clock.at(world.clock.now + delay, task)
        self.jobs.append(task)
        return job

    def _work(self, job: Future[None], work: Callable[[], None]) -> None:
        if job.done():
            return
        try:
            work()
            job.set_result(None)
        except TransferError as error:
            job.set_exception(error)
        self.sessions.on_time(self._world.clock.now, job_done=True)
        self._schedule()


class World:
    """A receiver, sends, a network, and what must always hold."""

    def __init__(self, seed: int, limits: Limits | None = None, pool_records: int = 600) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        self.disk = SimulatedDisk()
        self.key = self.rng.randbytes(32)
        self.limits = limits or Limits()
        self.pool_records = pool_records
        self.sends: list[Send] = []
        self.sources: dict[str, list[bytes]] = {}  # what may be published, by path
        self.receiver: Receiver | None = None
        self.crashes = 0
        self.on_stopped: Callable[[Send], None] = lambda _: None
        self._ports = iter(range(10_000, 60_000))
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._patches.enter_context(mock.patch.object(store, "os", self.disk))
        self._patches.enter_context(mock.patch.object(store, "reserve", self.disk.reserve))
        self._patches.enter_context(mock.patch("udpxfer.core.sessions.POOL_RECORDS", self.pool_records))
        self.start_receiver()
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    # ------------------------------------------------------------------- hosts

    def start_receiver(self) -> None:
        try:
            self.receiver = Receiver(self)
        except Crash:
            self.crash_receiver(power_loss=False)

    def link(self, path: Path, deliver: Callable[[list[bytes]], None]) -> Link:
        """One direction of the network for one send."""
        return Link(path, self.clock, self.rng, deliver)

    def new_address(self) -> Address:
        return ("10.0.0.1", next(self._ports))

    def send(self, job: Job) -> Send:
        path = f"{job.label}/{job.name}" if job.label else job.name
        self.sources.setdefault(path, []).append(job.content)
        send = Send(self, job, self.new_address())
        self.sends.append(send)
        return send

    def receive(self, datagrams: list[bytes], address: Address) -> None:
        """Datagrams reach the receiver's host."""
        receiver = self.receiver
        if receiver is not None:
            self.in_receiver(receiver, lambda: receiver.on_datagrams(datagrams, address))

    def in_receiver(self, receiver: Receiver, action: Callable[[], None]) -> None:
        """Do something in the receiver's process, which may die of it."""
        if receiver is not self.receiver:
            return
        try:
            action()
        except Crash:
            self.crash_receiver(power_loss=self.rng.random() < 0.7)

    def answer(self, datagram: bytes, address: Address) -> None:
        for send in self.sends:
            if send.address == address and send.running:
                send.back.send([datagram])

    def crash_receiver(self, power_loss: bool, restart_after_s: float | None = None) -> None:
        """SIGKILL, or a power loss; the receiver comes back after a while."""
        self.receiver = None
        self.crashes += 1
        self.disk.die(self.rng, power_loss)
        self.check_disk()
        delay = self.rng.uniform(0.1, 8.0) if restart_after_s is None else restart_after_s
        self.clock.at(self.clock.now + delay, self.start_receiver)

    def stop_receiver(self) -> None:
        """SIGTERM; it is started again after a while."""
        receiver = self.receiver
        if receiver is not None:
            for work in receiver.jobs:
                work()  # those that are done already do nothing
            self.in_receiver(receiver, lambda: receiver.sessions.close(self.clock.now))
        if receiver is self.receiver:
            self.receiver = None
            self.disk.die(None, power_loss=False)
            self.clock.at(self.clock.now + self.rng.uniform(0.1, 4.0), self.start_receiver)

    def kill(self, send: Send) -> None:
        """SIGKILL of a sender."""
        send.killed = True
        self.on_stopped(send)

    def published(self, job: Job) -> bool:
        """A source of this name is published."""
        path = f"{job.label}/{job.name}" if job.label else job.name
        return path in self.disk.files()

    def check_nothing_left(self) -> None:
        """Long after the last transfer nothing is held, in memory or on disk, but what can still be resumed."""
        assert self.receiver is not None
        assert not self.receiver.sessions._sessions
        assert not self.receiver.sessions._by_token
        for path in self.disk.files():
            folder, _, name = path.rpartition("/")
            if name.startswith(HIDDEN_PREFIX):
                names = {store._hidden_name(p.rpartition("/")[2], name.rpartition(".")[2]) for p in self.sources}
                assert name in names
                assert not self._is_published_rest(folder, name), f"{path} is left of a published file"

    def _is_published_rest(self, folder: str, hidden: str) -> bool:
        for path in self.sources:
            inside, _, name = path.rpartition("/")
            if inside == folder and hidden.startswith(store._hidden_name(name, "")) and path in self.disk.files():
                return True
        return False

    def on_end(self, send: Send) -> None:
        """A send has ended: when it says done, the file must survive a power loss now."""
        if send.done:
            path = f"{send.job.label}/{send.job.name}" if send.job.label else send.job.name
            durable = self.disk.files(durable=True).get(path)
            newest = self.limits.overwrite and len(self.sources[path]) > 1
            assert durable == send.job.content or (newest and durable in self.sources[path]), "done, but not durable"
        self.on_stopped(send)

    def check_disk(self) -> None:
        """Under a final name there is a whole source or nothing."""
        for path, content in self.disk.files().items():
            if not path.rpartition("/")[2].startswith(HIDDEN_PREFIX):
                assert content in self.sources[path], f"{path} is no source"

    # --------------------------------------------------------------------- run

    def run(self, until_s: float, done: Callable[[], bool] | None = None) -> None:
        """Let events happen until every send has ended (or ``done``), at most until ``until_s``."""
        done = done or (lambda: not any(send.running for send in self.sends))
        while not done():
            assert self.clock.step(), "nothing will ever happen again"
            assert self.clock.now < until_s, f"still running after {until_s} seconds"
        self.check_disk()

    def idle(self, seconds: float) -> None:
        """Let time pass."""
        until = self.clock.now + seconds
        self.clock.at(until, lambda: None)
        while self.clock.now < until:
            self.clock.step()
        self.check_disk()
