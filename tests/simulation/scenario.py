"""Random stories of transfers over bad networks with crashes, each told by a seed alone."""

from __future__ import annotations

import dataclasses
import random

from udpxfer.core.geometry import RECORD_BYTES
from udpxfer.core.sessions import IDLE_S, TOMBSTONE_S, Limits
from udpxfer.errors import Code

from .network import Path
from .world import Job, Send, World

DEADLINE_S = 3600.0
RUNS_OF_A_SEND = 12
"""A user starts a failed send again; what is hostile ends before so many tries are used up."""
HOSTILE_S = 120.0
RETRIED = frozenset(
    {Code.NO_ANSWER, Code.PEER_SILENT, Code.INTERRUPTED, Code.BUSY, Code.SOURCE_CHANGED, Code.DISK_FULL}
)
DATAGRAM_BYTES = (1200, 1400, 1452, 1472, 1472, 8972, 61_472)


@dataclasses.dataclass
class Outcome:
    """How a story ended."""

    transfers: int  # sends that were started
    done: int
    crashes: int


class Story:
    """One seed's story: some files, a network, and what goes wrong when."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        limits = Limits(overwrite=rng.random() < 0.2)
        self.world = World(seed, limits, pool_records=rng.choice((600, 600, 40, 4)))
        self.unfinished: dict[str, int] = {}  # name of the file -> runs so far
        self.world.on_stopped = self._start_again
        self.quiet = False  # nothing goes wrong on purpose any more

    def play(self) -> Outcome:
        """Play the story to its end; a broken promise is an AssertionError."""
        world, rng = self.world, self.rng
        with world:
            for index in range(rng.choice((1, 1, 1, 2, 3))):
                name = f"file{index}"
                self.unfinished[name] = 0
                self._start(name, self._new_job(name))
            for _ in range(rng.choice((0, 0, 1, 2, 4))):
                world.clock.at(rng.uniform(0, rng.choice((0.3, 3, 20, HOSTILE_S))), self._go_wrong)
            world.clock.at(HOSTILE_S, self._calm_down)
            world.run(DEADLINE_S, lambda: not self.unfinished)
            world.idle(max(HOSTILE_S - world.clock.now, 0) + TOMBSTONE_S * 3)
            world.check_nothing_left()
            done = sum(send.done for send in world.sends)
            return Outcome(len(world.sends), done, world.crashes)

    # ------------------------------------------------------------------- sends

    def _new_job(self, name: str) -> Job:
        rng = self.rng
        size = rng.choice((0, 1, RECORD_BYTES, rng.randrange(10_000), rng.randrange(300_000), rng.randrange(300_000)))
        if rng.random() < 0.06:
            size = rng.randrange(4_000_000)
        first_hop_bytes = rng.choice(DATAGRAM_BYTES)
        there = self._path(size, first_hop_bytes)
        back = there if rng.random() < 0.5 else dataclasses.replace(self._path(0, 0), mtu_bytes=there.mtu_bytes)
        label = rng.choice(("", "", "label", "label/mode"))
        max_rate = rng.choice((None, None, None, 50_000.0))
        return Job(rng.randbytes(size), name, label, there, back, first_hop_bytes, max_rate)

    def _path(self, size: int, first_hop_bytes: int) -> Path:
        """Mostly one thing is bad, sometimes everything; never so bad that no protocol could do it in time."""
        rng = self.rng
        share = 1.0 if rng.random() < 0.15 else 0.25

        def bad() -> bool:
            return rng.random() < share

        return Path(
            delay_s=rng.choice((0.00005, 0.0005, 0.005, 0.05, 0.3)),
            jitter_s=rng.choice((0.001, 0.02, 0.1)) if bad() else 0.0,
            loss=rng.choice((0.01, 0.05, 0.1, 0.2, 0.3)) if bad() else 0.0,
            burst=rng.choice((1.0, 3.0, 10.0)),
            duplicate=rng.choice((0.01, 0.3)) if bad() else 0.0,
            corrupt=rng.choice((0.0001, 0.005, 0.05)) if bad() else 0.0,
            truncate=rng.choice((0.0001, 0.02)) if bad() else 0.0,
            rate=max(rng.choice((20_000.0, 1e6, 1e8)), size / 60, first_hop_bytes * 10) if bad() else 0.0,
            queue_bytes=rng.choice((70_000, 500_000)),
            mtu_bytes=rng.choice((1200, 1300, 1472)) if bad() else 65_507,
            interrupt_s=rng.choice((0.0, 0.0002, 0.001)),
            down=tuple((at, at + rng.uniform(0.1, 12)) for at in (rng.uniform(0, 30) for _ in range(2)))
            if bad()
            else (),
        )

    def _start(self, name: str, job: Job) -> None:
        if name in self.unfinished:
            self.unfinished[name] += 1
            assert self.unfinished[name] <= RUNS_OF_A_SEND, f"{name} does not get through"
            self.world.send(job)

    def _start_again(self, send: Send) -> None:
        """A send has ended in whatever way: it is done, or its user starts it again."""
        name, failure = send.job.name, send.delivery.failure
        if send.done:
            self.unfinished.pop(name, None)
            return
        if failure is not None and failure.code is Code.FILE_EXISTS:
            assert self.world.published(send.job), "refused because of a file that is not there"
            self.unfinished.pop(name, None)
            return
        if failure is not None:
            assert failure.code in RETRIED, failure
        job = send.job
        if send.source.changed:
            job = dataclasses.replace(job, content=self.rng.randbytes(len(job.content)))
        if self.quiet:
            job = dataclasses.replace(job, there=_without_black_outs(job.there), back=_without_black_outs(job.back))
        # A receiver that missed the goodbye of a source that changed waits a minute for more of it.
        pause = IDLE_S if failure is not None and failure.code is Code.BUSY else 0.0
        at = self.world.clock.now + pause + self.rng.uniform(0.01, 15)
        self.world.clock.at(at, lambda: self._start(name, job))

    # -------------------------------------------------------------- what goes wrong

    def _go_wrong(self) -> None:
        if self.quiet:
            return
        running = [send for send in self.world.sends if send.running]
        events = [self._crash_receiver, self._crash_in_disk_call, self._change_path, self._fill_disk]
        if running:
            events += [self._kill_sender, self._move, self._change_source, self._interrupt, self._stop_receiver]
        self.rng.choice(events)()

    def _running(self) -> Send:
        return self.rng.choice([send for send in self.world.sends if send.running])

    def _crash_receiver(self) -> None:
        if self.world.receiver is not None:
            self.world.crash_receiver(power_loss=self.rng.random() < 0.7)

    def _crash_in_disk_call(self) -> None:
        self.world.disk.calls_until_crash = self.rng.randrange(30)

    def _fill_disk(self) -> None:
        """Others fill the disk for a while."""
        disk, clock = self.world.disk, self.world.clock
        disk.free_bytes = self.rng.choice((0, 100_000))
        clock.at(clock.now + self.rng.uniform(1, 20), disk.make_room)

    def _stop_receiver(self) -> None:
        self.world.stop_receiver()

    def _kill_sender(self) -> None:
        self.world.kill(self._running())

    def _interrupt(self) -> None:
        self._running().interrupt()

    def _move(self) -> None:
        self._running().move(self.world.new_address())

    def _change_source(self) -> None:
        send = self._running()
        send.source.change(self.rng.randrange(len(send.job.content) + 1))

    def _change_path(self) -> None:
        for send in self.world.sends:
            send.there.path = dataclasses.replace(
                send.there.path, mtu_bytes=self.rng.choice((1200, 1400, 65_507)), delay_s=self.rng.uniform(0, 0.2)
            )

    def _calm_down(self) -> None:
        self.quiet = True
        self.world.disk.calls_until_crash = None
        self.world.disk.make_room()
        for send in self.world.sends:
            send.there.path, send.back.path = _without_black_outs(send.there.path), _without_black_outs(send.back.path)


def _without_black_outs(path: Path) -> Path:
    return dataclasses.replace(path, down=())


def play(seed: int) -> Outcome:
    """The story of a seed."""
    return Story(seed).play()
