"""Every message survives the wire; whatever else arrives is a counted drop and nothing more."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from udpxfer.core import wire
from udpxfer.core.geometry import MIN_DATAGRAM_BYTES
from udpxfer.core.noise import Handshake
from udpxfer.core.sealing import ControlChannel
from udpxfer.errors import Code, TransferError

from tests.fuzz.targets import PARSERS

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
OFFERS = st.builds(
    wire.Offer,
    datagram_bytes=st.integers(MIN_DATAGRAM_BYTES, 61_472),
    file_bytes=U64,
    source_id=st.binary(min_size=16, max_size=16),
    label=st.from_regex(r"[a-z]{0,20}", fullmatch=True),
    name=st.from_regex(r"[^\x00/]{1,60}", fullmatch=True).filter(lambda name: name.isprintable()),
)
ACKS = st.builds(
    wire.Ack,
    cumulative=U32,
    window_end=U32,
    latest_send=U32,
    delay_us=U32,
    received_bytes=U64,
    clock_us=U64,
    bad_records=U32,
    receive_overflows=U32,
    listed_below=U32,
    complete=st.integers(0, 2**wire.MAX_WINDOW_RECORDS - 1),
    partial=st.lists(st.tuples(U32, U64), max_size=wire.MAX_PARTIAL).map(tuple),
)
RANGES = st.lists(st.tuples(U32, U32), max_size=wire.MAX_RANGES).map(tuple)


@given(OFFERS)
def test_offer(offer: wire.Offer) -> None:
    payload = wire.offer_payload(offer)
    assert len(payload) + wire.OFFER_OVERHEAD_BYTES == offer.datagram_bytes
    assert wire.offer_untrusted(payload) == offer


@given(ACKS)
def test_ack(ack: wire.Ack) -> None:
    body = wire.ack_body(ack)
    assert len(body) + 33 <= MIN_DATAGRAM_BYTES
    assert wire.ack_untrusted(body) == ack


@given(U32, U32, U32, RANGES)
def test_accept(session: int, buffer_bytes: int, window: int, ranges: tuple[tuple[int, int], ...]) -> None:
    accept = wire.Accept(session, buffer_bytes, window, ranges)
    payload = wire.accept_payload(accept)
    assert wire.answer_untrusted(payload) == accept
    assert 4 + wire.TOKEN_BYTES + 48 + len(payload) <= MIN_DATAGRAM_BYTES


@given(st.sampled_from([code for code in Code if code is not Code.OK]), st.text(max_size=600))
def test_refusal(code: Code, text: str) -> None:
    payload = wire.refuse_payload(TransferError(code, text))
    answer = wire.answer_untrusted(payload)
    assert isinstance(answer, TransferError)
    assert answer.code is code
    assert 4 + wire.TOKEN_BYTES + 48 + len(payload) <= MIN_DATAGRAM_BYTES


@given(U32, st.lists(st.binary(min_size=1, max_size=1456), min_size=1, max_size=64))
def test_digests(record: int, segments: list[bytes]) -> None:
    body = wire.digests_body(record, segments)
    assert len(body) + 33 <= MIN_DATAGRAM_BYTES
    assert wire.digests_untrusted(body) == (record, [wire.segment_digest(segment) for segment in segments])


@given(st.sampled_from(wire.Control), st.binary(max_size=1167), U32)
def test_control(control: wire.Control, body: bytes, session: int) -> None:
    keys = bytes(32), bytes(31) + b"x"
    ours, theirs = ControlChannel(session, *keys), ControlChannel(session, *reversed(keys))
    datagram = ours.seal(control, body)
    assert len(datagram) == len(body) + 33
    assert theirs.open_untrusted(datagram) == (control, body)
    with pytest.raises(wire.BadDatagram):
        theirs.open_untrusted(datagram)


@given(OFFERS, st.binary(max_size=900), st.binary(min_size=32, max_size=32))
def test_offer_and_answer_datagrams(offer: wire.Offer, answer: bytes, key: bytes) -> None:
    handshake = Handshake(key, wire.PROLOGUE)
    initiator, responder = handshake.initiator(key), handshake.responder()
    datagram = wire.offer_datagram(initiator.write(wire.offer_payload(offer)))
    assert len(datagram) == offer.datagram_bytes
    assert wire.offer_untrusted(responder.read(wire.offer_message_untrusted(datagram))) == offer
    reply = wire.answer_datagram(initiator.public[: wire.TOKEN_BYTES], responder.write(answer, key[::-1]))
    token, message = wire.answer_message_untrusted(reply)
    assert token == initiator.public[: wire.TOKEN_BYTES]
    assert initiator.read(message) == answer
    assert initiator.split() == responder.split()


@given(st.binary(max_size=2000))
@pytest.mark.parametrize("parser", PARSERS)
def test_garbage_is_one_kind_of_error(parser: object, garbage: bytes) -> None:
    assert callable(parser)
    with contextlib.suppress(wire.BadDatagram):
        parser(garbage)


@given(ACKS, st.data())
def test_a_truncated_ack_is_refused(ack: wire.Ack, data: st.DataObject) -> None:
    body = wire.ack_body(ack)
    with pytest.raises(wire.BadDatagram):
        wire.ack_untrusted(body[: data.draw(st.integers(0, len(body) - 1))])
