"""An emulated link: frames pass between two TAP devices, in user space, with delay, jitter, loss, rate and so on.

Usable alone (root, /dev/net/tun). Each end is a network namespace and the name its new device gets there:

    with emulated_link(("/run/netns/a", "wire0"), ("/run/netns/b", "wire0"), {"delay_ms": 25, "loss_pct": 1}, {"delay_ms": 25}) as link:
        ...  # ip -n a address add 192.0.2.1/24 dev wire0; ip -n a link set wire0 up; the same for b; then send
        link.change({"delay_ms": 25, "loss_pct": 5}, {})  # at once, for the frames that come now

The first impairment is for frames from the first end to the second, the other for those on the way back; {} is a
perfect link. Keys: delay_ms, jitter_ms, loss_pct, burst, rate_mbit, queue_kb, reorder_pct, duplicate_pct, corrupt_pct.

Inside is one process with one loop: `python3 -m alpinelab.link` reads a JSON object of links per line from standard
input (`Links.set` writes it), answers each with a line and ends with its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .system import LabError

TUNNEL_DEVICE = "/dev/net/tun"
# linux/if_tun.h, linux/if.h, linux/sockios.h
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
SIOCSIFTXQLEN = 0x8943
CLONE_NEWNET = 0x40000000
# Frames that the kernel keeps for this process while it does not run: half a second at 100 Mbit/s.
DEVICE_QUEUE_FRAMES = 5000
# A TAP device has Ethernet's MTU of 1500; header and VLAN tag are 18 bytes more.
FRAME_BYTES = 2048
ETHERNET_HEADER_BYTES = 14
# Frames taken from one device before the others get their turn and due frames are sent.
BURST_FRAMES = 64
DEFAULT_QUEUE_KB = 500.0
# A request makes, changes or removes devices in milliseconds; the lab stands still while it waits for the answer.
ANSWER_TIMEOUT_S, END_TIMEOUT_S = 10.0, 1.0


class Direction:
    """One direction of a link: what comes from `source` goes to `sink`, later or not at all."""

    def __init__(self, source: int, sink: int, impairment: dict[str, float]) -> None:
        self.source, self.sink = source, sink
        self.waiting: deque[tuple[float, bytes]] = deque()  # when each is due (ascending), what
        self._last_due = self._free_at = 0.0
        self._offset_s = self._offset_until = 0.0
        self._losing = False
        self.set(impairment)

    def set(self, impairment: dict[str, float]) -> None:
        """Other values from now on; frames under way keep their times."""
        get = impairment.get
        self.perfect = not any(impairment.values())
        self._delay_s = get("delay_ms", 0) / 1000
        self._jitter_s = get("jitter_ms", 0) / 1000
        # Gilbert's model: a bad state loses all; mean stay there is `burst` frames, mean loss over all is loss_pct.
        loss, burst = get("loss_pct", 0) / 100, get("burst", 1)
        self._loss = loss
        self._bursty = burst > 1 and loss < 1
        self._end_burst = 1 / burst
        self._begin_burst = loss / ((1 - loss) * burst) if self._bursty else 0.0
        self._bytes_per_s = get("rate_mbit", 0) * 125_000
        self._queue_bytes = get("queue_kb", DEFAULT_QUEUE_KB) * 1000
        self._reorder, self._duplicate, self._corrupt = (
            get(key, 0) / 100 for key in ("reorder_pct", "duplicate_pct", "corrupt_pct")
        )
        self._offset_s = self._offset_until = 0.0

    def accept(self, frame: bytes, now: float, chance: Any = random.random) -> None:
        """Decide what becomes of one frame."""
        if self._loss and self._is_lost(chance):
            return
        if self._corrupt and chance() < self._corrupt:
            frame = _with_wrong_bit(frame, chance)
        copies = 2 if self._duplicate and chance() < self._duplicate else 1
        for _ in range(copies):
            sent = now
            if self._bytes_per_s:
                # The queue is what has been taken but would still be on the wire.
                begin = max(now, self._free_at)
                if (begin - now) * self._bytes_per_s + len(frame) > self._queue_bytes:
                    return
                sent = self._free_at = begin + len(frame) / self._bytes_per_s
            if self._reorder and chance() < self._reorder:
                self._insert(sent, frame)
                continue
            due = sent + self._delay_s
            if self._jitter_s:
                due += self._offset(now, chance)
            # Jitter keeps the order, as the queues that cause it do.
            self._last_due = due = max(due, self._last_due)
            self.waiting.append((due, frame))

    def _insert(self, due: float, frame: bytes) -> None:
        """Put a frame before those that are due later."""
        position = len(self.waiting)
        while position and self.waiting[position - 1][0] > due:
            position -= 1
        self.waiting.insert(position, (due, frame))

    def _is_lost(self, chance: Any) -> bool:
        if not self._bursty:
            return bool(chance() < self._loss)
        self._losing = chance() >= self._end_burst if self._losing else chance() < self._begin_burst
        return self._losing

    def _offset(self, now: float, chance: Any) -> float:
        """Deviation from the delay; kept for a while, since with a new one per frame the latest would delay all behind it."""
        if now >= self._offset_until:
            self._offset_s = self._jitter_s * (2 * chance() - 1)
            self._offset_until = now + self._jitter_s
        return self._offset_s

    def send_due(self, now: float) -> None:
        """Send what is due."""
        waiting, sink, write = self.waiting, self.sink, os.write
        while waiting and waiting[0][0] <= now:
            with contextlib.suppress(OSError):  # a device that is down loses it, as a cable would
                write(sink, waiting.popleft()[1])


def _with_wrong_bit(frame: bytes, chance: Any) -> bytes:
    """One bit turned over, behind the Ethernet header: a wrong address would only be one more way to lose it."""
    changed = bytearray(frame)
    bit = int((ETHERNET_HEADER_BYTES + chance() * (len(frame) - ETHERNET_HEADER_BYTES)) * 8)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Relay:
    """The loop over all links of this process."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._links: dict[str, tuple[Direction, Direction]] = {}
        self._by_source: dict[int, Direction] = {}

    def apply(self, links: dict[str, Any]) -> None:
        """Make, change or (null) remove links."""
        for name, link in links.items():
            if link is None:
                self._remove(name)
            elif name in self._links:
                for direction, impairment in zip(self._links[name], link["impairments"], strict=True):
                    direction.set(impairment)
            else:
                one, other = (_open_tap(*end) for end in link["ends"])
                there, back = link["impairments"]
                self._links[name] = (Direction(one, other, there), Direction(other, one, back))
                for direction in self._links[name]:
                    self._by_source[direction.source] = direction
                    self._poll.register(direction.source, select.EPOLLIN)

    def _remove(self, name: str) -> None:
        for direction in self._links.pop(name, ()):
            self._poll.unregister(direction.source)
            del self._by_source[direction.source]
            os.close(direction.source)

    def run(self) -> None:
        """Relay until standard input ends."""
        control = sys.stdin.fileno()
        self._poll.register(control, select.EPOLLIN)
        poll, poll_fd = self._poll.poll, [self._poll.fileno()]
        while True:
            queues = [direction for direction in self._by_source.values() if direction.waiting]
            if queues:
                # select() counts in microseconds, epoll_wait() in milliseconds; an epoll can be selected.
                wait = min(direction.waiting[0][0] for direction in queues) - time.monotonic()
                select.select(poll_fd, (), (), max(wait, 0))
            for ready, _ in poll(0 if queues else -1):
                if ready == control:
                    if not (line := sys.stdin.readline()):
                        return
                    self._obey(line)
                elif ready in self._by_source:
                    self._take(self._by_source[ready])
            now = time.monotonic()
            for direction in self._by_source.values():
                if direction.waiting:
                    direction.send_due(now)

    def _take(self, direction: Direction) -> None:
        """Take what a device has, up to a burst."""
        read, write, source, sink = os.read, os.write, direction.source, direction.sink
        now = time.monotonic()
        straight = direction.perfect and not direction.waiting
        with contextlib.suppress(OSError):  # nothing more, or the device is down
            for _ in range(BURST_FRAMES):
                frame = read(source, FRAME_BYTES)
                if straight:
                    with contextlib.suppress(OSError):
                        write(sink, frame)
                else:
                    direction.accept(frame, now)

    def _obey(self, line: str) -> None:
        try:
            self.apply(json.loads(line))
            answer = ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


def _open_tap(namespace: str | None, name: str) -> int:
    """A new TAP device in a network namespace (None: this one); it is gone when the descriptor is closed."""
    with contextlib.ExitStack() as inside:
        if namespace is not None:
            inside.enter_context(network_namespace(namespace))
        device = os.open(TUNNEL_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, SIOCSIFTXQLEN, struct.pack("16si20x", name.encode(), DEVICE_QUEUE_FRAMES))
    return device


@contextlib.contextmanager
def network_namespace(path: str) -> Iterator[None]:
    """Be in a network namespace; os.setns came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(namespace: int) -> None:
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)

    with Path("/proc/self/ns/net").open("rb") as own, Path(path).open("rb") as other:
        enter(other.fileno())
        try:
            yield
        finally:
            enter(own.fileno())


class Links:
    """The relaying process as its parent sees it."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-m", "alpinelab.link"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def set(self, links: dict[str, Any]) -> None:
        """Make, change or (None) remove links: {name: {"ends": [[namespace, device], ...], "impairments": [there, back]}}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(links) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], (), (), ANSWER_TIMEOUT_S)[0]:
                self._process.kill()  # the lab starts another one in its place
                raise LabError(f"the process that emulates links: no answer within {ANSWER_TIMEOUT_S:.0f} s")
            answer = json.loads(self._process.stdout.readline() or '"it has ended"')
        except BrokenPipeError:
            answer = "it has ended"
        if answer:
            raise LabError(f"the process that emulates links: {answer}")

    def ended(self) -> bool:
        """True when the process is gone, and its links with it."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process; its devices go with it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class EmulatedLink:
    """One link in use."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def change(self, there: dict[str, float], back: dict[str, float]) -> None:
        """Other impairments from now on."""
        self._links.set({"link": {"impairments": [there, back]}})


@contextlib.contextmanager
def emulated_link(
    one: tuple[str, str], other: tuple[str, str], there: dict[str, float], back: dict[str, float]
) -> Iterator[EmulatedLink]:
    """A link between (namespace, device) and (namespace, device), as the module's text tells. Raises LabError."""
    links = Links()
    try:
        links.set({"link": {"ends": [one, other], "impairments": [there, back]}})
        yield EmulatedLink(links)
    finally:
        links.close()


if __name__ == "__main__":
    gc.disable()  # nothing here makes cycles, and thousands of waiting frames would be looked through again and again
    Relay().run()
