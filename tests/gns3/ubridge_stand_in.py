#!/usr/bin/env python3
"""A stand-in for GNS3's uBridge, for tests only: no package index has the real one, which is used where it is installed.

Written from what a GNS3 server sends and expects. It joins two network endpoints (TAP, UDP) to a bridge, with the filters
packet_loss, corrupt, frequency_drop and bpf "less N" in both directions, and writes captures. Commands it does not know are refused.

    ubridge -v                  prints a version that the server accepts
    ubridge -H ADDRESS:PORT     takes commands, one a line; answers end with "100-..." (done) or "2xx-..." (error)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import shlex
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

VERSION = "0.9.19"
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
LARGEST_FRAME_BYTES = 65_536
SOCKET_BUFFER_BYTES = 4 << 20
FRAMES_AT_ONCE = 64
# The server begins to wait for an answer at once, and taps may take a moment to appear in another namespace.
PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LARGEST_FRAME_BYTES, 1)

Filter = Callable[[bytes], "bytes | None"]


class CommandError(Exception):
    """Goes to the server as the answer."""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Udp:
    """A tunnel to another bridge's socket."""

    def __init__(self, local_port: int, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        self._socket.bind(("", local_port))
        self._socket.connect((host, port))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes:
        return self._socket.recv(LARGEST_FRAME_BYTES)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def close(self) -> None:
        self._socket.close()


class Tap:
    """A network interface of this machine; it may be moved to another namespace while it is open."""

    def __init__(self, name: str) -> None:
        self._handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self._handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
        ip("link", "set", "dev", name, "up")

    def fileno(self) -> int:
        return self._handle

    def receive(self) -> bytes:
        return os.read(self._handle, LARGEST_FRAME_BYTES)

    def send(self, frame: bytes) -> None:
        os.write(self._handle, frame)

    def close(self) -> None:
        os.close(self._handle)


def make_filter(kind: str, values: list[str]) -> Filter:
    """A function that gives the frame to pass on, or None."""
    counter = 0
    # Of bpf's expressions the stand-in knows only this one.
    share = int(values[0].removeprefix("less "))

    def packet_loss(frame: bytes) -> bytes | None:
        return None if random.random() * 100 < share else frame

    def corrupt(frame: bytes) -> bytes:
        if random.random() * 100 >= share:
            return frame
        place = random.randrange(len(frame))
        return frame[:place] + bytes([frame[place] ^ 0xFF]) + frame[place + 1 :]

    def frequency_drop(frame: bytes) -> bytes | None:
        nonlocal counter
        counter += 1
        return None if share < 0 or counter % share == 0 else frame

    def bpf(frame: bytes) -> bytes | None:
        return None if len(frame) <= share else frame

    try:
        return {"bpf": bpf, "packet_loss": packet_loss, "corrupt": corrupt, "frequency_drop": frequency_drop}[kind]
    except KeyError:
        raise CommandError(f"the stand-in has no filter {kind}") from None


class Capture:
    """A pcap file in the making."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = Path(path).open("wb")  # noqa: SIM115 (closed by close)
        self._file.write(PCAP_HEADER)
        self._file.flush()

    def write(self, frame: bytes) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds, nanoseconds // 1000, len(frame), len(frame)) + frame)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Bridge:
    """Two endpoints, and a thread that carries frames between them while it runs."""

    def __init__(self) -> None:
        self.ends: list[Udp | Tap] = []
        self.ports: dict[int, Udp] = {}
        self.filters: list[Filter] = []
        self.capture: Capture | None = None
        self._stop: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if len(self.ends) != 2:
            raise CommandError(f"a bridge has two ends, this one {len(self.ends)}")
        if self._thread is None:
            reader, self._stop = os.pipe()
            self._thread = threading.Thread(target=self._carry, args=(reader,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None and self._stop is not None:
            os.close(self._stop)
            self._thread.join()
            self._thread = None

    def delete(self) -> None:
        self.stop()
        for end in self.ends:
            end.close()
        self.stop_capture()

    def stop_capture(self) -> None:
        capture, self.capture = self.capture, None
        if capture is not None:
            capture.close()

    def _carry(self, stop: int) -> None:
        one, other = self.ends
        ways = {one.fileno(): (one, other), other.fileno(): (other, one)}
        poll = select.poll()
        for number in (*ways, stop):
            poll.register(number, select.POLLIN)
        while True:
            for number, _event in poll.poll():
                if number == stop:
                    os.close(stop)
                    return
                for _ in range(FRAMES_AT_ONCE):
                    if not self._carry_one(*ways[number]):
                        break

    def _carry_one(self, source: Udp | Tap, target: Udp | Tap) -> bool:
        """False when nothing waits."""
        try:
            frame: bytes | None = source.receive()
        except BlockingIOError:
            return False
        except OSError:  # the other side's socket is not there yet, the interface is down
            return False
        for change in self.filters:
            if frame is not None:
                frame = change(frame)
        if frame:
            if self.capture is not None:
                self.capture.write(frame)
            with contextlib.suppress(OSError):  # full, down or not there: the frame is lost, as on a wire
                target.send(frame)
        return True


class Hypervisor:
    """The bridges, and the commands."""

    def __init__(self) -> None:
        self._bridges: dict[str, Bridge] = {}
        self._lock = threading.Lock()

    def command(self, line: str) -> list[str]:
        """Carry out one line; returns what the answer says. Raises CommandError."""
        module, name, *words = shlex.split(line)
        method = getattr(self, f"{module}_{name}", None)
        if method is None:
            raise CommandError(f"the stand-in has no command {module} {name}")
        with self._lock:
            try:
                return method(*words) or []
            except (OSError, KeyError, TypeError, ValueError) as error:
                raise CommandError(f"{line}: {type(error).__name__}: {error}") from error

    def hypervisor_version(self) -> list[str]:
        return [VERSION]

    def hypervisor_reset(self) -> None:
        for bridge in self._bridges.values():
            bridge.delete()
        self._bridges.clear()

    def bridge_create(self, name: str) -> None:
        if name in self._bridges:
            raise CommandError(f"bridge {name} is there already")
        self._bridges[name] = Bridge()

    def bridge_delete(self, name: str) -> None:
        self._bridges.pop(name).delete()

    def bridge_start(self, name: str) -> None:
        self._bridges[name].start()

    def bridge_stop(self, name: str) -> None:
        self._bridges[name].stop()

    def bridge_add_nio_udp(self, name: str, local_port: str, host: str, port: str) -> None:
        bridge = self._bridges[name]
        bridge.ports[int(local_port)] = end = Udp(int(local_port), host, int(port))
        bridge.ends.append(end)

    def bridge_remove_nio_udp(self, name: str, local_port: str, _host: str, _port: str) -> None:
        end = self._bridges[name].ports.pop(int(local_port))
        self._bridges[name].ends.remove(end)
        end.close()

    def bridge_add_nio_tap(self, name: str, interface: str) -> None:
        self._bridges[name].ends.append(Tap(interface))

    def bridge_reset_packet_filters(self, name: str) -> None:
        self._bridges[name].filters = []

    def bridge_add_packet_filter(self, name: str, _label: str, kind: str, *values: str) -> None:
        self._bridges[name].filters = [*self._bridges[name].filters, make_filter(kind, list(values))]

    def bridge_start_capture(self, name: str, path: str, *_link_type: str) -> None:
        self._bridges[name].stop_capture()
        self._bridges[name].capture = Capture(path)

    def bridge_stop_capture(self, name: str) -> None:
        self._bridges[name].stop_capture()

    def docker_set_mac_addr(self, interface: str, address: str) -> None:
        ip("link", "set", "dev", interface, "address", address)

    def docker_move_to_ns(self, interface: str, pid: str, name: str) -> None:
        ip("link", "set", "dev", interface, "netns", pid, "name", name)

    def brctl_addif(self, bridge: str, interface: str) -> None:
        ip("link", "set", "dev", interface, "master", bridge)


HYPERVISOR = Hypervisor()


class Handler(socketserver.StreamRequestHandler):
    """One connection of the server."""

    def handle(self) -> None:
        for raw in self.rfile:
            line = raw.decode().strip()
            print(line, flush=True)
            try:
                words = [] if line in ("hypervisor stop", "hypervisor close") else HYPERVISOR.command(line)
                answer = "".join(f"101 {word}\r\n" for word in words) + "100-OK\r\n"
            except CommandError as error:
                answer = f"206-{error}\r\n"
                print(answer, flush=True)
            self.wfile.write(answer.encode())
            if line == "hypervisor stop":
                os._exit(0)
            if line == "hypervisor close":
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> int:
    if sys.argv[1:] == ["-v"]:
        print(f"ubridge version {VERSION} (the tests' stand-in)")
        return 0
    if len(sys.argv) < 3 or sys.argv[1] != "-H":
        print(__doc__, file=sys.stderr)
        return 2
    host, _, port = sys.argv[2].rpartition(":")
    with Server((host, int(port)), Handler) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
