"""Keys in use: one cipher for records, one channel for control messages in each direction."""

from __future__ import annotations

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .geometry import HEADER_BYTES, TAG_BYTES
from .wire import CONTROL_HEADER, BadDatagram, Buffer, Control, Kind

_NONCE = struct.Struct(">4xQ")


class RecordCipher:
    """AES-256-GCM with the record number as nonce.

    A nonce must never meet two plaintexts: the sender seals each record once per session and keeps the result until it
    is acknowledged.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        # Fixed output buffers: on musl a fresh 60 KiB result per call is ten times slower. Since cryptography 47; up to 38 it takes nothing but bytes.
        self._seal_into = getattr(self._cipher, "encrypt_into", None)
        self._open_into = getattr(self._cipher, "decrypt_into", None)

    def seal(self, record: int, plain: Buffer, sealed: memoryview) -> None:
        """Seal ``plain`` into ``sealed``, which is TAG_BYTES longer."""
        if self._seal_into is not None:
            self._seal_into(_NONCE.pack(record), plain, None, sealed)
        else:
            sealed[:] = self._cipher.encrypt(_NONCE.pack(record), bytes(plain), None)

    def open(self, record: int, sealed: Buffer, plain: memoryview) -> bool:
        """Open ``sealed`` into ``plain``; False when it is not authentic (``plain`` is then unspecified)."""
        try:
            if self._open_into is not None:
                self._open_into(_NONCE.pack(record), sealed, None, plain)
            else:
                plain[:] = self._cipher.decrypt(_NONCE.pack(record), bytes(sealed), None)
        except InvalidTag:
            return False
        return True


class ControlChannel:
    """Sealed control messages of one session with strictly increasing counters in each direction."""

    def __init__(self, session: int, send_key: bytes, receive_key: bytes) -> None:
        self.session = session
        self._send = AESGCM(send_key)
        self._receive = AESGCM(receive_key)
        self._sent = 0
        self._received = 0

    def seal(self, control: Control, body: bytes = b"") -> bytes:
        """The datagram that carries ``control`` with ``body``."""
        self._sent += 1
        header = CONTROL_HEADER.pack(Kind.CONTROL, self.session, self._sent)
        return header + self._send.encrypt(_NONCE.pack(self._sent), bytes([control]) + body, header)

    def open_untrusted(self, datagram: bytes) -> tuple[Control, bytes]:
        """Kind and body of the peer's datagram. Raises BadDatagram: forged, repeated, overtaken, or unknown."""
        if len(datagram) < HEADER_BYTES + TAG_BYTES + 1:
            raise BadDatagram("control: too short")
        header = datagram[:HEADER_BYTES]
        _, session, counter = CONTROL_HEADER.unpack(header)
        if session != self.session or counter <= self._received:
            raise BadDatagram("control: another session, repeated or overtaken")
        try:
            plain = self._receive.decrypt(_NONCE.pack(counter), datagram[HEADER_BYTES:], header)
            control = Control(plain[0])
        except (InvalidTag, ValueError) as error:
            raise BadDatagram("control: not authentic or unknown") from error
        self._received = counter
        return control, plain[1:]


class SessionKeys:
    """The three keys of a session, derived from the two transport keys of the handshake (HMAC-SHA-256 as a PRF)."""

    def __init__(self, to_receiver: bytes, to_sender: bytes) -> None:
        self.record = hmac.digest(to_receiver, b"udpxfer record", "sha256")
        self.to_receiver = hmac.digest(to_receiver, b"udpxfer control", "sha256")
        self.to_sender = hmac.digest(to_sender, b"udpxfer control", "sha256")
