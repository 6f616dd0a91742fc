"""Floods an address with garbage datagrams: ``python -m tests.network.flood HOST PORT RATE SECONDS SEED``.

It tells how many it sent, in all and per second, and from when to when.

sendmmsg(2) hands 64 separate datagrams to the kernel at a time: what arrives are single datagrams, the dearest to receive.
"""

from __future__ import annotations

import ctypes
import random
import socket
import sys
import time

BATCH = 64
KINDS = (0x01, 0x02, 0x10, 0x20, 0xFF)


class IoVector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class MessageHeader(ctypes.Structure):
    """struct msghdr, then the length that makes it a struct mmsghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(IoVector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
        ("_padding", ctypes.c_uint),
    )


def garbage(rng: random.Random) -> bytes:
    """A datagram that looks right for its first bytes, of a random length."""
    header = bytes([rng.choice(KINDS), rng.choice((0, 1)), 0, 0]) + rng.randbytes(4)
    return header + rng.randbytes(rng.choice((0, 8, 40, 200, 1192)))


def main() -> None:
    """Send at the rate asked for, or as fast as it goes."""
    host, port, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    libc = ctypes.CDLL(None, use_errno=True)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    rng = random.Random(sys.argv[5])
    datagrams = [garbage(rng) for _ in range(BATCH)]
    vectors = [IoVector(datagram, len(datagram)) for datagram in datagrams]
    messages = (MessageHeader * BATCH)(*(MessageHeader(None, 0, ctypes.pointer(v), 1, None, 0, 0, 0) for v in vectors))
    first, began, sent = time.time(), time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        if sent > now * rate:
            time.sleep(0.0002)
            continue
        sent += max(libc.sendmmsg(sock.fileno(), messages, BATCH, 0), 0)
    print(sent, round(sent / (time.monotonic() - began)), first, time.time())


if __name__ == "__main__":
    main()
