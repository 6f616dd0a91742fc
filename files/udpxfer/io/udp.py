"""UDP sockets: segmentation and aggregation in the kernel (UDP_SEGMENT, UDP_GRO), and what to do where they do not work.

One send hands the kernel a whole record, one receive takes a whole burst; headers and payloads are scattered by the
kernel itself. Linux' udp(7), `net/ipv4/udp.c` and `include/uapi/linux/udp.h` are the sources of the constants.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from typing import Any

from ..core.geometry import HEADER_BYTES, MAX_SEGMENTS
from ..core.receiver import SEGMENT_NUMBERS, Burst
from ..core.wire import DATA_HEADER, Kind
from ..errors import Code, TransferError

Address = tuple[Any, ...]

# Constants that Python's socket module does not name.
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_PROBE = 3  # never fragment, ignore cached path MTUs: the handshake probes the path itself
IP_MTU = 14
IPV6_MTU = 24
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
SO_RXQ_OVFL = 40

SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked for in each direction: what stock limits refuse is taken as it comes."""
RECEIVE_BYTES = 65_536
"""A burst is never longer than an IP datagram can be."""
UDP_HEADERS_BYTES = {socket.AF_INET: 28, socket.AF_INET6: 48}
SEND_WAIT_S = 0.05

_CUT_OFF = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_NO_GSO = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP})
_TRANSIENT = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOBUFS, errno.EPERM})


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[HOST]:PORT``. Raises TransferError (BAD_ADDRESS)."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        separator = ""
    if not separator or not host or not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise TransferError(Code.BAD_ADDRESS, f"'{text}' is not an address")
    return host, int(port)


def resolve(host: str, port: int, passive: bool) -> tuple[socket.AddressFamily, Address]:
    """Address family and socket address of a host. Raises TransferError (BAD_ADDRESS)."""
    flags = socket.AI_PASSIVE if passive else 0
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)[0]
    except OSError as error:
        raise TransferError(Code.BAD_ADDRESS, f"cannot resolve '{host}': {error.strerror}") from error
    return family, address


def format_address(address: Address) -> str:
    """``HOST:PORT``, with brackets for IPv6."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    for plain, forced in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
        except OSError:  # needs CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BUFFER_BYTES)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    return sock


class SenderSocket:
    """A connected socket that sends the segments of a record in one call.

    ``segmentation`` says whether the kernel segments (GSO) or why not.
    """

    def __init__(self, host: str, port: int) -> None:
        self.family, address = resolve(host, port, passive=False)
        self.address = format_address(address)
        self.segmentation = "on"
        self._sock = _open(self.family)
        try:
            self._sock.connect(address)
        except OSError as error:
            self._sock.close()
            raise TransferError(Code.NETWORK, f"cannot reach {self.address}: {error.strerror}") from error
        self._buffer = bytearray(2048)
        self._view = memoryview(self._buffer)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    @property
    def path_datagram_bytes(self) -> int:
        """The largest UDP payload that the first hop takes unfragmented."""
        if self.family == socket.AF_INET6:
            mtu = self._sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        else:
            mtu = self._sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
        return mtu - UDP_HEADERS_BYTES[self.family]

    def wait(self, seconds: float) -> None:
        """Wait until something arrives, at most ``seconds``; select is the one call with microsecond time-outs."""
        select.select([self._sock], (), (), max(seconds, 0.0))

    def receive(self) -> bytes | None:
        """The next datagram from the receiver, or None."""
        try:
            size = self._sock.recv_into(self._buffer)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR) or error.errno in _TRANSIENT:
                return None
            raise
        return bytes(self._view[:size])

    def send(self, datagram: bytes) -> None:
        """Send one datagram; what the network refuses for the moment counts as lost."""
        self._send([datagram], [])

    def send_segments(self, segments: list[memoryview], segment_bytes: int, single: bool) -> None:
        """Send header and payload pairs, each pair one datagram of ``segment_bytes`` (the last may be shorter).

        ``single`` forces one call for each datagram.
        """
        if not single and self.segmentation == "on" and len(segments) > 2:
            try:
                self._send(segments, [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_bytes))])
                return
            except OSError as error:
                if error.errno not in _NO_GSO:
                    raise
                self.segmentation = f"refused by the kernel: {error.strerror}"
        for index in range(0, len(segments), 2):
            self._send(segments[index : index + 2], [])

    def _send(self, parts: list[Any], ancillary: list[tuple[int, int, bytes]]) -> None:
        while True:
            try:
                self._sock.sendmsg(parts, ancillary)
                return
            except BlockingIOError:
                select.select((), [self._sock], (), SEND_WAIT_S)
            except OSError as error:
                if error.errno in _TRANSIENT or (error.errno == errno.EMSGSIZE and not ancillary):
                    return
                raise


class SegmentTable:
    """Headers of up to 64 segments in one block, and the scatter list of a record's segments with them."""

    def __init__(self, session: int, segment_bytes: int) -> None:
        self._session = session
        self._segment_bytes = segment_bytes
        self._block = bytearray(HEADER_BYTES * MAX_SEGMENTS)
        view = memoryview(self._block)
        self._headers = [view[i * HEADER_BYTES : (i + 1) * HEADER_BYTES] for i in range(MAX_SEGMENTS)]

    def pairs(self, sealed: memoryview) -> list[memoryview]:
        """Header and payload views of every segment of a sealed record; built once for each buffer."""
        pairs: list[memoryview] = []
        for index, start in enumerate(range(0, len(sealed), self._segment_bytes)):
            pairs += (self._headers[index], sealed[start : start + self._segment_bytes])
        return pairs

    def stamp(self, record: int, number: int, flags: int) -> None:
        """Write the headers for one send of ``record``."""
        header = DATA_HEADER.pack(Kind.DATA, 0, flags, 0, self._session, record, number)
        self._block[:] = header * MAX_SEGMENTS
        self._block[1::HEADER_BYTES] = SEGMENT_NUMBERS


class ReceiverSocket:
    """A bound socket that takes whole bursts. ``aggregation`` says whether the kernel aggregates (GRO)."""

    def __init__(self, host: str, port: int) -> None:
        family, address = resolve(host, port, passive=True)
        self._sock = _open(family)
        try:
            self._sock.bind(address)
        except OSError as error:
            self._sock.close()
            raise TransferError(
                Code.BIND_FAILED, f"cannot listen at {format_address(address)}: {error.strerror}"
            ) from error
        self.address = format_address(self._sock.getsockname())
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        try:
            self._sock.setsockopt(SOL_UDP, UDP_GRO, 1)
            self.aggregation = "on"
        except OSError as error:
            self.aggregation = f"refused by the kernel: {error.strerror}"
        self.buffer_bytes = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.overflows = 0
        self._ancillary_bytes = socket.CMSG_SPACE(4) * 2
        self._headers = memoryview(bytearray(HEADER_BYTES * MAX_SEGMENTS * 2))
        self._payload = memoryview(bytearray(RECEIVE_BYTES))
        self._segment_bytes = 0
        self._layout: list[memoryview] = []
        self.expect(1472 - HEADER_BYTES)

    def fileno(self) -> int:
        """The descriptor, for select."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def expect(self, segment_bytes: int) -> None:
        """Lay the scatter list out for segments of this length; others are still taken, with one more copy."""
        if segment_bytes == self._segment_bytes:
            return
        self._segment_bytes = segment_bytes
        self._layout = []
        for index, start in enumerate(range(0, RECEIVE_BYTES, segment_bytes)):
            self._layout += (
                self._headers[index * HEADER_BYTES : (index + 1) * HEADER_BYTES],
                self._payload[start : start + segment_bytes],
            )

    def send(self, datagram: bytes, address: Address) -> None:
        """Send one datagram; if the network refuses it, whatever for, it is lost like any other."""
        with contextlib.suppress(OSError):
            self._sock.sendto(datagram, address)

    def receive(self) -> tuple[Burst, Address] | None:
        """The next burst and its sender, or None. Every datagram in it has at least a header."""
        try:
            size, ancillary, flags, address = self._sock.recvmsg_into(self._layout, self._ancillary_bytes)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR) or error.errno in _TRANSIENT:
                return None
            raise
        datagram_bytes = size
        for level, kind, data in ancillary:
            if level == SOL_UDP and kind == UDP_GRO:
                (datagram_bytes,) = struct.unpack_from("=i" if len(data) >= 4 else "=H", data)
            elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                (self.overflows,) = struct.unpack("=I", data)
        if flags & _CUT_OFF or not HEADER_BYTES <= datagram_bytes <= size:
            return self._nothing(), address
        count = -(-size // datagram_bytes)
        if count > 2 * MAX_SEGMENTS or size - (count - 1) * datagram_bytes < HEADER_BYTES:
            return self._nothing(), address
        expected = self._segment_bytes + HEADER_BYTES
        if datagram_bytes != expected and (count > 1 or size > expected):
            self._relay(size, datagram_bytes, count)
        headers = self._headers[: count * HEADER_BYTES]
        payload = self._payload[: size - count * HEADER_BYTES]
        return Burst(count, headers, payload, datagram_bytes - HEADER_BYTES), address

    def _nothing(self) -> Burst:
        return Burst(0, self._headers[:0], self._payload[:0], 1)

    def _relay(self, size: int, datagram_bytes: int, count: int) -> None:
        """The burst has another segment length than the scatter list: put headers and payloads where they belong."""
        whole = b"".join(self._layout)[:size]
        step = datagram_bytes - HEADER_BYTES
        for index in range(count):
            datagram = whole[index * datagram_bytes : (index + 1) * datagram_bytes]
            self._headers[index * HEADER_BYTES : (index + 1) * HEADER_BYTES] = datagram[:HEADER_BYTES]
            start = index * step
            self._payload[start : start + len(datagram) - HEADER_BYTES] = datagram[HEADER_BYTES:]
