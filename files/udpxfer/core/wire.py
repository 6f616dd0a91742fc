"""Every byte that crosses the network: layouts, builders and parsers. `docs/protocol.md` shows the same as tables.

Functions whose names end in ``_untrusted`` read bytes that anybody may have sent; they raise BadDatagram and nothing else.
All integers are big-endian.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import struct
from collections.abc import Iterable
from typing import NamedTuple, Union

from ..errors import Code, TransferError
from .geometry import MAX_DATAGRAM_BYTES, MAX_SEGMENTS, MIN_DATAGRAM_BYTES, RECORD_BYTES, TAG_BYTES

VERSION = 1
PROLOGUE = b"udpxfer 1"

Buffer = Union[bytes, bytearray, memoryview]


class BadDatagram(Exception):  # noqa: N818 no error of the program, but what a network is like
    """The bytes are not a valid datagram: it is dropped and counted, nothing else happens."""


class Kind(enum.IntEnum):
    """First byte of a datagram."""

    OFFER = 0x01
    ANSWER = 0x02
    CONTROL = 0x10
    DATA = 0x20


class Control(enum.IntEnum):
    """First byte inside a sealed control message."""

    PING = 1  # sender: are you there? The first one also proves that the offer was no replay
    ACK = 2  # receiver: what it has
    FINISH = 3  # sender: the source is read to its end and did not change
    DONE = 4  # receiver: the file is published and on disk
    CLOSE = 5  # sender: DONE arrived, forget the session
    ABORT = 6  # either: the transfer failed
    DIGESTS = 7  # sender: a digest of every segment of a record that did not authenticate, or may not


# kind, version, zero (2 bytes)
_OFFER_HEADER = bytes([Kind.OFFER, VERSION, 0, 0])
_ANSWER_HEADER = bytes([Kind.ANSWER, VERSION, 0, 0])
# An answer also names the offer it answers: the first bytes of the offer's ephemeral key.
TOKEN_BYTES = 8
# kind, segment, flags, zero, session, record, send number
DATA_HEADER = struct.Struct(">BBBBIII")
# kind, zero (3 bytes), session, counter
CONTROL_HEADER = struct.Struct(">B3xIQ")

SEGMENT_NUMBERS = bytes(range(MAX_SEGMENTS))
"""Second byte of the headers of one send, for comparisons and copies in one step."""

FLAG_ACK_NOW = 0x01
"""The sender wants an acknowledgement of this segment at once."""

SEND_NUMBER_LIMIT = 0xFFFF_FF00
"""A sender gives up before its send numbers would wrap: at least 10 TB in one session, even in two-segment sends."""


def offer_datagram(message: bytes) -> bytes:
    """An OFFER around handshake message one."""
    return _OFFER_HEADER + message


def offer_message_untrusted(datagram: bytes) -> bytes:
    """The handshake message of an OFFER."""
    if not MIN_DATAGRAM_BYTES <= len(datagram) <= MAX_DATAGRAM_BYTES:
        raise BadDatagram("an offer is as long as the datagrams it proposes")
    if datagram[:4] != _OFFER_HEADER:
        raise BadDatagram("not an offer of this version")
    return datagram[4:]


def answer_datagram(token: bytes, message: bytes) -> bytes:
    """An ANSWER around handshake message two, to the offer whose ephemeral key starts with ``token``."""
    return _ANSWER_HEADER + token + message


def answer_message_untrusted(datagram: bytes) -> tuple[bytes, bytes]:
    """Token and handshake message of an ANSWER."""
    if datagram[:4] != _ANSWER_HEADER or len(datagram) < 4 + TOKEN_BYTES:
        raise BadDatagram("not an answer of this version")
    return datagram[4 : 4 + TOKEN_BYTES], datagram[4 + TOKEN_BYTES :]


@dataclasses.dataclass(frozen=True)
class Offer:
    """What the sender wants to send (sealed inside handshake message one)."""

    datagram_bytes: int
    file_bytes: int
    source_id: bytes  # 16 bytes: equal as long as the source is the same file, unchanged
    label: str  # empty or one or two components
    name: str


_OFFER = struct.Struct(">HHQ16sBB")
OFFER_OVERHEAD_BYTES = len(_OFFER_HEADER) + 32 + TAG_BYTES
"""What an OFFER adds to its payload: header, ephemeral key, tag."""


def offer_payload(offer: Offer) -> bytes:
    """The offer, padded so that its datagram is as long as the segments it proposes: the path is probed on the way."""
    label, name = offer.label.encode(), offer.name.encode()
    fixed = _OFFER.pack(
        offer.datagram_bytes,
        RECORD_BYTES // 1024,
        offer.file_bytes,
        offer.source_id,
        len(label),
        len(name),
    )
    return (fixed + label + name).ljust(offer.datagram_bytes - OFFER_OVERHEAD_BYTES, b"\0")


def offer_untrusted(payload: bytes) -> Offer:
    """Parse `offer_payload`. The payload is authenticated, yet still checked like any other input."""
    try:
        fields = _OFFER.unpack_from(payload)
        datagram_bytes, record_kib, file_bytes, source_id, label_length, name_length = fields
        end = _OFFER.size + label_length + name_length
        if record_kib * 1024 != RECORD_BYTES or end > len(payload):
            raise BadDatagram("offer: sizes do not fit")
        label = payload[_OFFER.size : _OFFER.size + label_length].decode()
        name = payload[_OFFER.size + label_length : end].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise BadDatagram("offer: malformed") from error
    if datagram_bytes != len(payload) + OFFER_OVERHEAD_BYTES:
        raise BadDatagram("offer: not padded to its own datagram size")
    return Offer(datagram_bytes, file_bytes, source_id, label, name)


@dataclasses.dataclass(frozen=True)
class Accept:
    """The receiver takes the file."""

    session: int
    receive_buffer_bytes: int  # what the receiver's socket buffer really holds (kernel accounting)
    window_records: int  # how many records above the lowest incomplete one it takes
    stored: tuple[tuple[int, int], ...]  # ranges (first, last) of records it already has on disk


_ACCEPT = struct.Struct(">HIIIH")
_RANGE = struct.Struct(">II")
_CODE = struct.Struct(">H")
MAX_RANGES = 128
"""An answer with so many has 1 100 bytes: it is never longer than an offer, so whoever replays an offer gains nothing."""
MAX_TEXT_BYTES = 500
"""Nor is one with so long a text, which no message of ours reaches."""


def accept_payload(accept: Accept) -> bytes:
    """Build the payload of an accepting answer; ranges beyond MAX_RANGES are left out, they only cost a resend."""
    ranges = accept.stored[:MAX_RANGES]
    head = _ACCEPT.pack(Code.OK, accept.session, accept.receive_buffer_bytes, accept.window_records, len(ranges))
    return head + b"".join(_RANGE.pack(first, last) for first, last in ranges)


def refuse_payload(error: TransferError) -> bytes:
    """Build the payload of a refusing answer; also the body of ABORT."""
    return _CODE.pack(error.code) + error.message.encode(errors="replace")[:MAX_TEXT_BYTES]


def refuse_untrusted(payload: bytes) -> TransferError:
    """Parse `refuse_payload`: why the peer does not take the file, or gave up."""
    if len(payload) < _CODE.size:
        raise BadDatagram("refusal: too short")
    (number,) = _CODE.unpack_from(payload)
    try:
        code = Code(number)
    except ValueError:
        code = Code.PROTOCOL
    return TransferError(code, payload[_CODE.size :].decode(errors="replace"))


def answer_untrusted(payload: bytes) -> Accept | TransferError:
    """Parse an answer's payload."""
    if payload[:2] != _CODE.pack(Code.OK):
        return refuse_untrusted(payload)
    try:
        _, session, buffer_bytes, window, count = _ACCEPT.unpack_from(payload)
        ranges = tuple(_RANGE.unpack_from(payload, _ACCEPT.size + index * _RANGE.size) for index in range(count))
    except struct.error as error:
        raise BadDatagram("answer: malformed") from error
    return Accept(session, buffer_bytes, window, ranges)


class Ack(NamedTuple):
    """A snapshot of what the receiver has. A later one replaces an earlier one, so lost ones cost nothing.

    The first nine fields lie in the message in this order.
    """

    cumulative: int  # every record below it is complete and authentic
    window_end: int  # first record number the receiver does not take yet
    latest_send: int  # send number of the datagram that arrived last; not authenticated
    delay_us: int  # how long ago that was
    received_bytes: int  # datagram bytes of this session that arrived, repeats included
    clock_us: int  # receiver's clock when the last of them arrived
    bad_records: int  # records that failed to authenticate
    receive_overflows: int  # datagrams the kernel dropped because the receive buffer was full
    listed_below: int  # `partial` names every incomplete record below it of which a segment arrived
    complete: int  # bit i: record cumulative + i is complete
    partial: tuple[tuple[int, int], ...]  # (record, mask of missing segments)


DIGEST_BYTES = 8
"""What of a segment's digest is told. Content is protected by the record's tag; this only finds out which segment was spoiled."""
_RECORD = struct.Struct(">I")


def segment_digest(segment: Buffer) -> bytes:
    """The digest of one segment of a sealed record."""
    return hashlib.blake2b(segment, digest_size=DIGEST_BYTES).digest()


def digests_body(record: int, segments: Iterable[Buffer]) -> bytes:
    """Build the body of DIGESTS."""
    return _RECORD.pack(record) + b"".join(map(segment_digest, segments))


def digests_untrusted(body: bytes) -> tuple[int, list[bytes]]:
    """Parse `digests_body`: record, and the digest of each of its segments."""
    if len(body) % DIGEST_BYTES != _RECORD.size:
        raise BadDatagram("digests: lengths do not fit")
    (record,) = _RECORD.unpack_from(body)
    return record, [body[start : start + DIGEST_BYTES] for start in range(_RECORD.size, len(body), DIGEST_BYTES)]


_ACK = struct.Struct(">IIIIQQIIIHH")
_PARTIAL = struct.Struct(">IQ")
MAX_PARTIAL = 64
"""With so many of them and the longest bitmap an acknowledgement has 977 bytes, which every path carries."""
MAX_WINDOW_RECORDS = 1024
"""The longest bitmap that is taken, in records: twice what a receiver of ours allows to be under way."""


def ack_body(ack: Ack) -> bytes:
    """Build an acknowledgement; the caller keeps ``partial`` within MAX_PARTIAL entries."""
    bitmap = ack.complete.to_bytes((ack.complete.bit_length() + 7) // 8, "big")
    head = _ACK.pack(*ack[:9], len(bitmap), len(ack.partial))
    return head + bitmap + b"".join(_PARTIAL.pack(record, missing) for record, missing in ack.partial)


def ack_untrusted(body: bytes) -> Ack:
    """Parse `ack_body`."""
    try:
        fields = _ACK.unpack_from(body)
        bitmap_length, count = fields[9:]
        start = _ACK.size + bitmap_length
        if len(body) != start + count * _PARTIAL.size or bitmap_length > MAX_WINDOW_RECORDS // 8:
            raise BadDatagram("ack: lengths do not fit")
        partial = tuple(_PARTIAL.unpack_from(body, start + index * _PARTIAL.size) for index in range(count))
    except struct.error as error:
        raise BadDatagram("ack: malformed") from error
    complete = int.from_bytes(body[_ACK.size : start], "big")
    return Ack(*fields[:9], complete=complete, partial=partial)  # type: ignore[misc]
