"""Requests to a running lab, on a socket in its folder: one JSON object each way, and for `connect` an open socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import config
from .impair import Ports, start_capture
from .system import LabError

SOCKET = "control"
# A status is asked for in less than a second, so a host that has not answered by then counts as silent; what its own link
# delays comes on top, for two round trips: one connects, one brings the banner.
BANNER_TIMEOUT_S, BANNER_ROUND_TRIPS = 0.6, 2
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0


class Switch:
    """The running lab, as its requests see it."""

    def __init__(self, lab: config.Description, ports: Ports) -> None:
        self.lab, self.ports = lab, ports
        self.lock = threading.Lock()  # one change at a time
        self._profile = "clean"
        self._captures: dict[str, tuple[Path, subprocess.Popen[str]]] = {}

    def status(self) -> dict[str, Any]:
        """Hosts, links, impairments and captures."""
        with self.lock:
            timeouts = {node.address: banner_timeout_s(self.ports.state(node.name)) for node in self.lab.nodes}
        answering = asyncio.run(_answering(timeouts))
        with self.lock:
            self._forget_ended_captures()
            nodes = [
                {
                    "name": node.name,
                    "address": node.address,
                    "ssh": node.address in answering,
                    **self.ports.state(node.name),
                    "capture": str(self._captures[node.name][0]) if node.name in self._captures else None,
                }
                for node in self.lab.nodes
            ]
            return {"profile": self._profile, "impaired_by": self.ports.mechanism, "nodes": nodes}

    def impair(self, links: dict[str, config.Link], profile: str, check: bool = False) -> dict[str, Any]:
        """Let all links be as told; links that are not named become perfect."""
        perfect: config.Link = {"to_host": {}, "from_host": {}}
        with self.lock:
            changed = self.ports.impair({node.name: links.get(node.name, perfect) for node in self.lab.nodes}, check)
            if not check:
                self._profile = profile
        return {"changed": bool(changed), "links": sorted(changed)}

    def link(self, host: str, up: bool, check: bool = False) -> dict[str, Any]:
        """Pull or plug a host's cable."""
        self._known(host)
        with self.lock:
            return {"changed": self.ports.set_link(host, up, check)}

    def capture(self, host: str, file: str | None, check: bool = False) -> dict[str, Any]:
        """Record what passes a host's port into a pcap file; without one, end that."""
        self._known(host)
        with self.lock:
            self._forget_ended_captures()
            running = self._captures.get(host)
            if running is not None and file not in (None, str(running[0])):
                raise LabError(f"{host}: a capture into {running[0]} is running; stop it first")
            changed = (running is None) == (file is not None)
            if not changed or check:
                return {"changed": changed}
            if file is None:
                return {"changed": True, **self._stop_capture(host)}
            self._captures[host] = (Path(file), start_capture(host, Path(file)))
            return {"changed": True, "file": file}

    def _stop_capture(self, host: str) -> dict[str, Any]:
        file, process = self._captures.pop(host)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=REQUEST_TIMEOUT_S)
        return {"file": str(file), "said": " ".join(said.split())}

    def _forget_ended_captures(self) -> None:
        """A reboot of the host takes the port away, and the capture ends with it."""
        for host in [host for host, (_, process) in self._captures.items() if process.poll() is not None]:
            del self._captures[host]

    def _known(self, host: str) -> None:
        names = [node.name for node in self.lab.nodes]
        if host not in names:
            raise LabError(f"no host '{host}' in this lab; there are: {', '.join(names)}")


def banner_timeout_s(link: Mapping[str, Any]) -> float:
    """How long a healthy host behind this link may take to send its SSH banner."""
    ways = [link["to_host"], link["from_host"]]
    round_trip_ms = sum(way.get("delay_ms", 0) + way.get("jitter_ms", 0) for way in ways)
    return float(BANNER_TIMEOUT_S + BANNER_ROUND_TRIPS * round_trip_ms / 1000)


async def _answering(timeouts: dict[str, float]) -> set[str]:
    """Addresses that send an SSH banner, each in its time (seconds)."""

    async def banner(address: str) -> bool:
        reader, writer = await asyncio.open_connection(address, 22)
        try:
            return await reader.readexactly(4) == b"SSH-"
        finally:
            writer.close()

    tries = (asyncio.wait_for(banner(address), timeout_s) for address, timeout_s in timeouts.items())
    answers = await asyncio.gather(*tries, return_exceptions=True)
    return {address for address, answer in zip(timeouts, answers, strict=True) if answer is True}


def serve(folder: Path, switch: Switch) -> None:
    """Answer requests for good; each in a thread of its own."""
    verbs: dict[str, Callable[..., dict[str, Any]]] = {
        "status": switch.status,
        "impair": switch.impair,
        "link": switch.link,
        "capture": switch.capture,
    }

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer: dict[str, Any]
            try:
                request = json.loads(self.rfile.readline())
                verb = request.pop("verb")
                if verb == "connect":
                    return self._connect(**request)
                answer = {"answer": verbs[verb](**request)}
            except (LabError, OSError, KeyError, TypeError, ValueError, subprocess.SubprocessError) as error:
                answer = {"error": str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"}
            return self._say(answer)

        def _say(self, answer: dict[str, Any]) -> None:
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        def _connect(self, host: str, port: int) -> None:
            try:
                with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as connection:
                    connection.settimeout(None)
                    socket.send_fds(self.request, [b"{}\n"], [connection.fileno()])
            except OSError as error:
                self._say({"error": f"{host} port {port}: {error}"})

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    with short_path(folder / SOCKET) as path:
        Path(path).unlink(missing_ok=True)
        server = Server(path, Handler)
    (folder / SOCKET).chmod(0o600)
    server.serve_forever()


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Another name of a file: a socket's may have 108 bytes only, and folders lie deeper than that."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connection(folder: Path) -> socket.socket:
    """A connection to the lab in this folder. Raises OSError when there is none."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(REQUEST_TIMEOUT_S)
    try:
        with short_path(folder / SOCKET) as path:
            channel.connect(path)
    except BaseException:
        channel.close()
        raise
    return channel


def ask(folder: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    """Send a request and return its answer. Raises LabError with the lab's own error, OSError when nobody answers."""
    with connection(folder) as channel, channel.makefile("rw") as stream:
        stream.write(json.dumps({"verb": verb, **arguments}) + "\n")
        stream.flush()
        line = stream.readline()
    if not line:
        raise ConnectionResetError("the lab ended while it was asked")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LabError(answer["error"])
    found: dict[str, Any] = answer["answer"]
    return found


def connected(folder: Path, host: str, port: int) -> int:
    """Descriptor of a TCP connection from the switch to a host. Raises LabError, OSError."""
    with connection(folder) as channel:
        channel.sendall(json.dumps({"verb": "connect", "host": host, "port": port}).encode() + b"\n")
        said, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
    if not descriptors:
        raise LabError(json.loads(said or b'{"error": "the lab ended"}')["error"])
    return descriptors[0]
