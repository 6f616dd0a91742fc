"""One end of a flow that lasts a given time: ``python3 -m bench.flow ROLE ...``; writes what arrived, and when, as JSON.

    udpxfer KEY FILE HOST:PORT SECONDS OUT     sends FILE, which should last longer, with udpxfer
    tcp-send CONGESTION HOST PORT SECONDS      sends zeros with a congestion control of the kernel
    tcp-receive PORT OUT                       their receiver

OUT holds pairs: seconds on the machine's monotonic clock, bytes that had arrived.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from udpxfer import keys
from udpxfer.io import client

SAMPLE_S = 0.2
BLOCK_BYTES = 65_536
TCP_CONGESTION = 13  # linux/tcp.h


def send_with_udpxfer(key: str, file: str, receiver: str, seconds: float, out: str) -> None:
    """Send for a time; what arrived is what the receiver has acknowledged as whole records."""
    samples: list[tuple[float, int]] = []
    threading.Timer(seconds, client.INTERRUPTED.set).start()
    client.send_file(
        client.Job(file, receiver), keys.load(key), lambda _, there, __: samples.append((time.monotonic(), there))
    )
    Path(out).write_text(json.dumps(samples))


def send_with_tcp(congestion: str, host: str, port: int, seconds: float) -> None:
    """Send for a time, then drop the connection with what is queued."""
    end = time.monotonic() + seconds
    with socket.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, congestion.encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.connect((host, port))
        connection.settimeout(SAMPLE_S)
        block = bytes(BLOCK_BYTES)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                connection.send(block)


def receive_with_tcp(port: int, out: str) -> None:
    """Count what arrives on one connection until it is dropped."""
    samples: list[tuple[float, int]] = []
    with socket.create_server(("", port)) as listener:
        connection, _ = listener.accept()
    received, due = 0, 0.0
    buffer = bytearray(BLOCK_BYTES * 4)
    with connection, contextlib.suppress(ConnectionResetError):
        while count := connection.recv_into(buffer):
            received += count
            if (now := time.monotonic()) >= due:
                samples.append((now, received))
                due = now + SAMPLE_S
    samples.append((time.monotonic(), received))
    Path(out).write_text(json.dumps(samples))


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "udpxfer":
        key, file, receiver, seconds, out = arguments
        send_with_udpxfer(key, file, receiver, float(seconds), out)
    elif role == "tcp-send":
        send_with_tcp(arguments[0], arguments[1], int(arguments[2]), float(arguments[3]))
    else:
        receive_with_tcp(int(arguments[0]), arguments[1])
    os._exit(0)  # not wait for the timer
