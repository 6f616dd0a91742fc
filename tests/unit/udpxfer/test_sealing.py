"""Records and control messages: what is altered, repeated or from another session does not open."""

from __future__ import annotations

import pytest
from udpxfer.core.sealing import ControlChannel, RecordCipher
from udpxfer.core.wire import BadDatagram, Control

KEY, OTHER = bytes(range(32)), bytes(32)


@pytest.fixture
def pair() -> tuple[ControlChannel, ControlChannel]:
    """Both ends of a control channel."""
    return ControlChannel(5, KEY, OTHER), ControlChannel(5, OTHER, KEY)


@pytest.mark.parametrize("fixed_buffers", [True, False])
def test_a_record_opens_only_unaltered_and_in_its_place(fixed_buffers: bool) -> None:
    cipher = RecordCipher(KEY)
    if not fixed_buffers:  # cryptography before 47
        cipher._seal_into = cipher._open_into = None
    sealed, plain = memoryview(bytearray(1016)), memoryview(bytearray(1000))
    cipher.seal(3, b"r" * 1000, sealed)
    assert cipher.open(3, sealed, plain)
    assert plain == b"r" * 1000
    assert not cipher.open(4, sealed, plain)
    sealed[500] ^= 1
    assert not cipher.open(3, sealed, plain)


def test_messages_arrive_in_both_directions(pair: tuple[ControlChannel, ControlChannel]) -> None:
    ours, theirs = pair
    assert theirs.open_untrusted(ours.seal(Control.PING, b"body")) == (Control.PING, b"body")
    assert ours.open_untrusted(theirs.seal(Control.ACK)) == (Control.ACK, b"")


def test_repeated_overtaken_and_altered_messages_are_refused(pair: tuple[ControlChannel, ControlChannel]) -> None:
    ours, theirs = pair
    first, second = ours.seal(Control.PING), ours.seal(Control.FINISH)
    assert theirs.open_untrusted(second)[0] is Control.FINISH
    for datagram in (
        first,
        second,
        second[:-1],
        second + b"x",
        b"",
        bytes(40),
        ControlChannel(6, KEY, OTHER).seal(Control.PING),
    ):
        with pytest.raises(BadDatagram):
            theirs.open_untrusted(datagram)
    for position in (0, 3, 8, 15, 16, 32):
        altered = bytearray(ours.seal(Control.PING))
        altered[position] ^= 1
        with pytest.raises(BadDatagram):
            theirs.open_untrusted(bytes(altered))


def test_our_own_messages_do_not_open_for_us(pair: tuple[ControlChannel, ControlChannel]) -> None:
    ours, _ = pair
    with pytest.raises(BadDatagram):
        ours.open_untrusted(ours.seal(Control.PING))
