"""Hypothesis is the network and the power company: it delivers, drops, repeats, reorders, alters and crashes as it likes.

Whatever it did, only a whole source is ever published; and as soon as it leaves the network alone, the file arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from udpxfer.core.geometry import RECORD_BYTES

from .network import Link, Path
from .world import Job, Send, World

PATIENCE_S = 300.0
Deliver = Callable[[list[bytes]], None]


class HeldLink(Link):
    """Datagrams wait here until somebody decides what becomes of them."""

    def __init__(self, world: AdversarysWorld, deliver: Deliver) -> None:
        super().__init__(Path(delay_s=0.0), world.clock, world.rng, deliver)
        self._world, self._hand_over = world, deliver

    def send(self, datagrams: Sequence[bytes]) -> None:
        if self._world.fair:
            super().send(datagrams)
        else:
            self._world.flying += [(self._hand_over, datagram) for datagram in datagrams]


class AdversarysWorld(World):
    """A world whose network is in somebody's hands until it is ``fair``."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.fair = False
        self.flying: list[tuple[Deliver, bytes]] = []

    def link(self, _path: Path, deliver: Deliver) -> Link:
        return HeldLink(self, deliver)


class Adversary(RuleBasedStateMachine):
    """The rules of the game."""

    @initialize(seed=st.integers(0, 2**32), size=st.sampled_from([0, 1, 5000, RECORD_BYTES, 2 * RECORD_BYTES + 7]))
    def begin(self, seed: int, size: int) -> None:
        self.world = AdversarysWorld(seed).__enter__()
        self.job = Job(self.world.rng.randbytes(size), label="label")
        self.sending = self.world.send(self.job)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self._make_peace()
            finally:
                self.world.__exit__()

    def _make_peace(self) -> None:
        """Deliver what flies, start again what has died: the file must arrive."""
        world = self.world
        world.fair = True
        for deliver, datagram in world.flying:
            deliver([datagram])
        for _ in range(4):
            if not self.sending.running and not self.sending.done:
                self._restart_sender()
            world.run(world.clock.now + PATIENCE_S)
        assert self.sending.done or world.published(self.job), self.sending.delivery.failure

    def _restart_sender(self) -> Send:
        self.sending = self.world.send(self.job)
        return self.sending

    @invariant()
    def only_whole_sources_are_published(self) -> None:
        if hasattr(self, "world"):
            self.world.check_disk()

    def _take(self, which: int) -> tuple[Deliver, bytes]:
        return self.world.flying.pop(which % len(self.world.flying))

    @precondition(lambda self: self.world.flying)
    @rule(which=st.integers(0, 10_000))
    def deliver(self, which: int) -> None:
        deliver, datagram = self._take(which)
        deliver([datagram])

    @precondition(lambda self: self.world.flying)
    @rule(count=st.integers(1, 100))
    def deliver_in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.world.flying))):
            self.deliver(0)

    @precondition(lambda self: self.world.flying)
    @rule(which=st.integers(0, 10_000))
    def drop(self, which: int) -> None:
        self._take(which)

    @precondition(lambda self: self.world.flying)
    @rule(which=st.integers(0, 10_000))
    def duplicate(self, which: int) -> None:
        self.world.flying.append(self.world.flying[which % len(self.world.flying)])

    @precondition(lambda self: self.world.flying)
    @rule(which=st.integers(0, 10_000), position=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
    def corrupt(self, which: int, position: int, bit: int, cut: bool) -> None:
        deliver, datagram = self._take(which)
        altered = bytearray(datagram)
        position %= len(datagram)
        altered[position] ^= 1 << bit
        self.world.flying.append((deliver, datagram[: position + 1] if cut else bytes(altered)))

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.3, 2.0, 6.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.world.idle(seconds)

    @precondition(lambda self: self.world.receiver is not None)
    @rule(power_loss=st.booleans(), seconds=st.sampled_from([0.01, 5.0]))
    def crash_the_receiver(self, power_loss: bool, seconds: float) -> None:
        self.world.crash_receiver(power_loss, seconds)

    @rule(calls=st.integers(0, 12))
    def crash_in_a_call_to_the_disk(self, calls: int) -> None:
        self.world.disk.calls_until_crash = calls

    @precondition(lambda self: self.sending.running)
    @rule()
    def kill_the_sender(self) -> None:
        self.world.kill(self.sending)
        self._restart_sender()

    @precondition(lambda self: self.sending.running)
    @rule()
    def move_the_sender(self) -> None:
        self.sending.move(self.world.new_address())


TestAdversary = Adversary.TestCase
TestAdversary.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
