"""The handshake against the published test vector of the cacophony suite, and what must not authenticate."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from udpxfer.core.noise import Handshake, NoiseError

PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
PSK = bytes.fromhex("54686973206973206d7920417573747269616e20706572737065637469766521")
INITIATOR_KEY = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
RESPONDER_KEY = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
OFFER = bytes.fromhex("4c756477696720766f6e204d69736573")
ANSWER = bytes.fromhex("4d757272617920526f746862617264")
OFFER_MESSAGE = bytes.fromhex(
    "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
    "7c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1"
)
ANSWER_MESSAGE = bytes.fromhex(
    "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
    "2f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461"
)
# (sender, nonce, payload, ciphertext) of the transport messages that follow
TRANSPORT = [
    (0, 0, "462e20412e20486179656b", "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6"),
    (1, 0, "4361726c204d656e676572", "a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0"),
    (
        0,
        1,
        "4a65616e2d426170746973746520536179",
        "6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd",
    ),
    (
        1,
        1,
        "457567656e2042f6686d20766f6e2042617765726b",
        "9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9",
    ),
]


def test_published_vector() -> None:
    initiator = Handshake(PSK, PROLOGUE).initiator(INITIATOR_KEY)
    responder = Handshake(PSK, PROLOGUE).responder()
    assert initiator.write(OFFER) == OFFER_MESSAGE
    assert responder.read(OFFER_MESSAGE) == OFFER
    assert responder.write(ANSWER, RESPONDER_KEY) == ANSWER_MESSAGE
    assert initiator.read(ANSWER_MESSAGE) == ANSWER
    keys = initiator.split()
    assert responder.split() == keys
    for sender, counter, payload, ciphertext in TRANSPORT:
        nonce = bytes(4) + counter.to_bytes(8, "big")
        assert AESGCM(keys[sender]).encrypt(nonce, bytes.fromhex(payload), b"").hex() == ciphertext


@pytest.mark.parametrize("position", [0, 31, 32, len(OFFER_MESSAGE) - 1])
def test_an_altered_offer_is_refused(position: int) -> None:
    altered = bytearray(OFFER_MESSAGE)
    altered[position] ^= 1
    with pytest.raises(NoiseError):
        Handshake(PSK, PROLOGUE).responder().read(bytes(altered))


@pytest.mark.parametrize(("psk", "prologue"), [(bytes(32), PROLOGUE), (PSK, b"another protocol")])
def test_another_key_or_prologue_is_refused(psk: bytes, prologue: bytes) -> None:
    with pytest.raises(NoiseError):
        Handshake(psk, prologue).responder().read(OFFER_MESSAGE)


def test_a_forged_answer_leaves_the_initiator_usable() -> None:
    initiator = Handshake(PSK, PROLOGUE).initiator(INITIATOR_KEY)
    initiator.write(OFFER)
    for forged in (b"", bytes(48), ANSWER_MESSAGE[:-1], bytes(32) + ANSWER_MESSAGE[32:]):
        with pytest.raises(NoiseError):
            initiator.read(forged)
    assert initiator.read(ANSWER_MESSAGE) == ANSWER


def test_a_low_order_ephemeral_key_is_refused() -> None:
    responder = Handshake(PSK, PROLOGUE).responder()
    forger = Handshake(PSK, PROLOGUE).initiator(INITIATOR_KEY)
    forger.public = bytes(32)
    responder.read(forger.write(OFFER))
    with pytest.raises(NoiseError):
        responder.write(ANSWER, RESPONDER_KEY)
