"""The Noise handshake NNpsk0 with X25519, AES-256-GCM and SHA-256.

Source: The Noise Protocol Framework, revision 34 (sections 5 and 9). Names follow that document. One message each way::

    -> psk, e
    <- e, ee

Whoever has no pre-shared key can neither make nor read either message. The ephemeral keys give forward secrecy to
everything after the first message; the first message can be replayed, which `core.sessions` makes harmless.
"""

from __future__ import annotations

import copy
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .geometry import TAG_BYTES

PROTOCOL_NAME = b"Noise_NNpsk0_25519_AESGCM_SHA256"
KEY_BYTES = 32
"""Of the pre-shared key and of the X25519 keys."""
BASE_POINT = bytes([9]).ljust(KEY_BYTES, b"\0")
"""RFC 7748 section 4.1."""
_NONCE = bytes(12)


class NoiseError(Exception):
    """The peer's message does not authenticate: another key, another prologue, or altered bytes."""


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    temp_key = hmac.digest(chaining_key, material, "sha256")
    blocks: list[bytes] = []
    block = b""
    for index in range(1, outputs + 1):
        block = hmac.digest(temp_key, block + bytes([index]), "sha256")
        blocks.append(block)
    return blocks


class _Symmetric:
    """SymmetricState and CipherState of the specification; in this pattern no key seals twice, so the nonce is always 0."""

    def __init__(self, prologue: bytes) -> None:
        self.h = PROTOCOL_NAME.ljust(32, b"\0")
        self.ck = self.h
        self.key = b""
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.ck, self.key = _hkdf(self.ck, material, 2)

    def mix_key_and_hash(self, material: bytes) -> None:
        self.ck, temp_h, self.key = _hkdf(self.ck, material, 3)
        self.mix_hash(temp_h)

    def mix_ephemeral(self, public: bytes) -> None:
        """The token "e", which in a psk handshake also mixes the key (section 9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = AESGCM(self.key).encrypt(_NONCE, plaintext, self.h)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        try:
            plaintext = AESGCM(self.key).decrypt(_NONCE, ciphertext, self.h)
        except InvalidTag as error:
            raise NoiseError("message does not authenticate") from error
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        first, second = _hkdf(self.ck, b"", 2)
        return first, second


class Handshake:
    """The state both sides share before the first ephemeral key; made once per pre-shared key, then copied."""

    def __init__(self, psk: bytes, prologue: bytes) -> None:
        if len(psk) != KEY_BYTES:
            raise ValueError(f"a pre-shared key has {KEY_BYTES} bytes, not {len(psk)}")
        self._start = _Symmetric(prologue)
        self._start.mix_key_and_hash(psk)

    def initiator(self, ephemeral: bytes) -> Initiator:
        """A new initiator; ``ephemeral`` is its fresh 32-byte X25519 private key."""
        return Initiator(copy.copy(self._start), ephemeral)

    def responder(self) -> Responder:
        """A new responder."""
        return Responder(copy.copy(self._start))


class Initiator:
    """The side that opens the session. Call `write` once, `read` until it succeeds, then `split`."""

    def __init__(self, state: _Symmetric, ephemeral: bytes) -> None:
        self._state = state
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self.public = _public_bytes(self._ephemeral)

    def write(self, payload: bytes) -> bytes:
        """Message one: public ephemeral key and sealed ``payload``."""
        self._state.mix_ephemeral(self.public)
        return self.public + self._state.encrypt_and_hash(payload)

    def read(self, message: bytes) -> bytes:
        """The payload of message two. Raises NoiseError and stays usable when it does not authenticate."""
        remote, sealed = _parted(message)
        state = copy.copy(self._state)
        state.mix_ephemeral(remote)
        state.mix_key(_exchange(self._ephemeral, remote))
        payload = state.decrypt_and_hash(sealed)
        self._state = state
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys: (initiator to responder, responder to initiator)."""
        return self._state.split()


class Responder:
    """The side that answers. Call `read`, then `write`, then `split`."""

    def __init__(self, state: _Symmetric) -> None:
        self._state = state
        self._remote = b""

    def read(self, message: bytes) -> bytes:
        """The payload of message one. Raises NoiseError when it does not authenticate."""
        self._remote, sealed = _parted(message)
        self._state.mix_ephemeral(self._remote)
        return self._state.decrypt_and_hash(sealed)

    def write(self, payload: bytes, ephemeral: bytes) -> bytes:
        """Message two; ``ephemeral`` is a fresh 32-byte X25519 private key. Raises NoiseError on a useless peer key."""
        private = X25519PrivateKey.from_private_bytes(ephemeral)
        public = _public_bytes(private)
        self._state.mix_ephemeral(public)
        self._state.mix_key(_exchange(private, self._remote))
        return public + self._state.encrypt_and_hash(payload)

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys: (initiator to responder, responder to initiator)."""
        return self._state.split()


def _parted(message: bytes) -> tuple[bytes, bytes]:
    """Ephemeral key and sealed payload of a message."""
    if len(message) < KEY_BYTES + TAG_BYTES:
        raise NoiseError("message is too short")
    return message[:KEY_BYTES], message[KEY_BYTES:]


def _public_bytes(private: X25519PrivateKey) -> bytes:
    """X25519 of the private key and the base point (RFC 7748 section 6.1): `public_bytes` costs 5 ms of imports at every start."""
    return private.exchange(X25519PublicKey.from_public_bytes(BASE_POINT))


def _exchange(private: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # an all-zero shared secret: a low-order point
        raise NoiseError("unusable ephemeral key") from error
