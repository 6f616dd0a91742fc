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
from ..core.names import Address, format_address
from ..core.receiver import Burst
from ..errors import Code, TransferError

# Constants that Python's socket module does not name.
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
CONTROL_BYTES = 2_048
"""Nothing that a receiver sends is longer than the shortest offer."""
UDP_HEADERS_BYTES = {socket.AF_INET: 28, socket.AF_INET6: 48}
SEND_WAIT_S = 0.05
"""A full send buffer is tried again after this time at the latest: select sees room only when half of it is free (sock_writeable)."""
SINGLES_TO_GATHER = 32
"""After so many full datagrams in a row that came alone, more are expected to."""

_CUT_OFF = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_NO_GSO = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP})
# What routers and hosts on the way say (ICMP), and what may be otherwise a moment later: the datagram counts as lost.
_TRANSIENT = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.ENOBUFS,
        errno.EPERM,
        errno.EMSGSIZE,
    }
)
_NOTHING_COMES = _TRANSIENT | {errno.EAGAIN}


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


def _open(host: str, port: int) -> tuple[socket.socket, Address]:
    """A socket for the host's family of addresses, and its address there. Raises TransferError (BAD_ADDRESS)."""
    try:
        name = host.encode("ascii" if host.isascii() else "idna")  # left to itself Python always loads IDNA: 2 ms
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM)[0]
    except UnicodeError as error:
        raise TransferError(Code.BAD_ADDRESS, f"'{host}' is no name of a host") from error
    except OSError as error:
        raise TransferError(Code.BAD_ADDRESS, f"cannot resolve '{host}': {error.strerror}") from error
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
    return sock, address


class SenderSocket:
    """A connected socket that sends the segments of a record in one call.

    ``segmentation`` says whether the kernel segments (GSO) or why not.
    """

    def __init__(self, host: str, port: int) -> None:
        self.segmentation = "on"
        self._sock, address = _open(host, port)
        try:
            self._sock.connect(address)
        except OSError as error:
            self._sock.close()
            raise TransferError(Code.NETWORK, f"cannot reach {format_address(address)}: {error.strerror}") from error

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    @property
    def path_datagram_bytes(self) -> int:
        """The largest UDP payload that the first hop takes unfragmented."""
        if self._sock.family == socket.AF_INET6:
            mtu = self._sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        else:
            mtu = self._sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
        return mtu - UDP_HEADERS_BYTES[self._sock.family]

    def wait(self, seconds: float) -> None:
        """Wait until something arrives, at most ``seconds``; select is the one call with microsecond time-outs."""
        select.select([self._sock], (), (), max(seconds, 0.0))

    def receive(self) -> bytes | None:
        """The next datagram from the receiver, or None."""
        try:
            return self._sock.recv(CONTROL_BYTES)
        except OSError as error:
            if error.errno in _NOTHING_COMES:
                return None
            raise

    def send(self, datagram: bytes) -> None:
        """Send one datagram; what the network refuses for the moment counts as lost."""
        self._send([datagram], [])

    def send_segments(self, segments: list[memoryview], segment_bytes: int, single: bool) -> None:
        """Send header and payload pairs, each pair one datagram of ``segment_bytes`` (the last may be shorter).

        ``single`` forces one call for each datagram.
        """
        if not single and self.segmentation == "on" and len(segments) > 2:
            try:
                self._send(segments, [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", segment_bytes))])
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
                if (ancillary and error.errno in _NO_GSO) or error.errno not in _TRANSIENT:
                    raise
                return


class ReceiverSocket:
    """A bound socket that takes whole bursts. ``aggregation`` says whether the kernel aggregates (GRO).

    Where bursts arrive as such, one call scatters them over headers and payload. Where datagrams come one by one, they
    are gathered into the same shape, so that the rest of the program always sees bursts.
    """

    def __init__(self, host: str, port: int) -> None:
        self._sock, address = _open(host, port)
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
            self._sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
            self.aggregation = "on"
        except OSError as error:
            self.aggregation = f"refused by the kernel: {error.strerror}"
        self.receive_buffer_bytes = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        """What the receive buffer holds, as the kernel counts."""
        self.receive_overflows = 0
        """Datagrams that the kernel dropped because that buffer was full."""
        self._ancillary_bytes = socket.CMSG_SPACE(4) * 2
        self._headers = memoryview(bytearray(HEADER_BYTES * MAX_SEGMENTS * 2))
        self._payload = memoryview(bytearray(RECEIVE_BYTES))
        self._rest = memoryview(bytearray(RECEIVE_BYTES))  # of a burst that comes while single datagrams are gathered
        self._segment_bytes = 0
        self._scatter: list[memoryview] = []
        self._slots: list[list[memoryview]] = []
        self._singles = 0  # datagrams that came alone, in a row
        self._held: tuple[Burst, Address] | None = None
        self.expect(1472 - HEADER_BYTES)

    @property
    def comes_singly(self) -> bool:
        """Full datagrams come one by one: no network card or kernel aggregates them."""
        return self._singles >= SINGLES_TO_GATHER

    def fileno(self) -> int:
        """The descriptor, for select."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def expect(self, segment_bytes: int) -> None:
        """Lay the buffers out for segments of this length; others are still taken, with one more copy."""
        if segment_bytes == self._segment_bytes:
            return
        self._segment_bytes = segment_bytes
        self._scatter, self._slots = [], []
        for index, start in enumerate(range(0, RECEIVE_BYTES, segment_bytes)):
            header = self._headers[index * HEADER_BYTES : (index + 1) * HEADER_BYTES]
            payload = self._payload[start : start + segment_bytes]
            self._scatter += (header, payload)
            self._slots.append([header, payload, self._rest])
        del self._slots[-1]  # may be shorter than a segment

    def send(self, datagram: bytes, address: Address) -> None:
        """Send one datagram; if the network refuses it, whatever for, it is lost like any other."""
        with contextlib.suppress(OSError):
            self._sock.sendto(datagram, address)

    def receive(self) -> tuple[Burst, Address] | None:
        """The next burst and its sender, or None. Each datagram in it has at least a header; a useless one has count 0."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        if self.comes_singly:
            return self._gather()
        taken = self._take(self._scatter)
        if taken is None:
            return None
        size, datagram_bytes, address = taken
        self._singles = self._singles + 1 if size == self._segment_bytes + HEADER_BYTES else 0
        return self._burst(size, datagram_bytes), address

    def _gather(self) -> tuple[Burst, Address] | None:
        """Single datagrams of one sender, one behind the other as if they had come in one burst."""
        full = self._segment_bytes + HEADER_BYTES
        count, total, sender = 0, 0, None
        for slot in self._slots:
            taken = self._take(slot)
            if taken is None:
                break
            size, datagram_bytes, address = taken
            if size > full or size < HEADER_BYTES or datagram_bytes != size or (count and address != sender):
                self._singles = 0
                self._held = _deinterleave(b"".join(slot)[:size], datagram_bytes), address
                break
            count, total, sender = count + 1, total + size, address
            if size < full:
                break
        if not count:
            return self.receive() if self._held is not None else None
        headers, payload = self._headers[: count * HEADER_BYTES], self._payload[: total - count * HEADER_BYTES]
        return Burst(count, headers, payload, self._segment_bytes), sender or ()

    def _take(self, buffers: list[memoryview]) -> tuple[int, int, Address] | None:
        """Read once: total size, size of each datagram in it (0: unusable), sender; None when nothing is there."""
        try:
            size, ancillary, flags, address = self._sock.recvmsg_into(buffers, self._ancillary_bytes)
        except OSError as error:
            if error.errno in _NOTHING_COMES:
                return None
            raise
        datagram_bytes = size
        for level, kind, data in ancillary:
            if level == socket.SOL_UDP and kind == UDP_GRO:
                (datagram_bytes,) = struct.unpack_from("=i" if len(data) >= 4 else "=H", data)
            elif level == socket.SOL_SOCKET and kind == SO_RXQ_OVFL:
                (self.receive_overflows,) = struct.unpack("=I", data)
        return size, 0 if flags & _CUT_OFF else datagram_bytes, address

    def _burst(self, size: int, datagram_bytes: int) -> Burst:
        """What was read into the scatter list."""
        expected = self._segment_bytes + HEADER_BYTES
        if size < HEADER_BYTES or not datagram_bytes or (datagram_bytes != expected and size > expected):
            return _deinterleave(b"".join(self._scatter)[:size], datagram_bytes)
        count = -(-size // datagram_bytes)
        if size - (count - 1) * datagram_bytes < HEADER_BYTES:
            return _NOTHING
        payload = self._payload[: size - count * HEADER_BYTES]
        return Burst(count, self._headers[: count * HEADER_BYTES], payload, datagram_bytes - HEADER_BYTES)


_NOTHING = Burst(0, memoryview(b""), memoryview(b""), 1)


def _deinterleave(whole: bytes, datagram_bytes: int) -> Burst:
    """Headers and payloads of datagrams that lie one behind the other, each with its header."""
    datagrams = [
        whole[start : start + datagram_bytes] for start in range(0, len(whole), datagram_bytes or len(whole) + 1)
    ]
    if datagram_bytes < HEADER_BYTES or not datagrams or len(datagrams[-1]) < HEADER_BYTES:
        return _NOTHING
    headers = b"".join(datagram[:HEADER_BYTES] for datagram in datagrams)
    payload = b"".join(datagram[HEADER_BYTES:] for datagram in datagrams)
    return Burst(len(datagrams), memoryview(headers), memoryview(payload), datagram_bytes - HEADER_BYTES)
