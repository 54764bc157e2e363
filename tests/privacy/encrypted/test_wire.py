"""Frames: what is not whole, or of another version, kind or model, is refused with the reason."""

import contextlib
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.encrypted.wire import HEADER, KINDS, Frame, _checksum, read_frame, read_offer
from privacy.errors import CiphertextError, WireError
from privacy.sealed import ENVELOPE, MAGIC, inflate, plain_envelope

MODEL = bytes(range(16))
parts = st.lists(st.binary(max_size=50), max_size=5).map(tuple)


def resealed(content):
    """With a checksum that holds again."""
    return content[:-16] + _checksum(content[:-16])


@given(st.sampled_from(sorted(KINDS)), parts, st.binary(min_size=32, max_size=32))
def test_a_frame_survives_its_bytes(kind, content, keys):
    frame = Frame(kind, MODEL, content, keys)
    again = read_frame(frame.to_bytes(), kind, MODEL)
    assert (again.kind, again.model, again.parts, again.keys) == (kind, MODEL, content, keys)
    assert len(again.nonce) == 16
    assert frame.to_bytes() != frame.to_bytes()  # each has a nonce of its own


@settings(max_examples=300)
@given(st.data())
def test_every_bit_counts(data):
    content = bytearray(Frame("image", MODEL, (b"some", b"parts"), bytes(32)).to_bytes())
    place = data.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    with pytest.raises(WireError) as error:
        read_frame(bytes(content), "image", MODEL)
    assert 400 <= error.value.status < 500


@given(st.integers(0, 118))
def test_a_frame_cut_short_is_refused(length):
    content = Frame("image", MODEL, (b"some", b"parts"), bytes(32)).to_bytes()
    with pytest.raises(WireError):
        read_frame(content[: min(length, len(content) - 1)], "image", MODEL)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(content):
    with pytest.raises(WireError):
        read_frame(content, "image", MODEL)


@given(st.data())
def test_whole_frames_with_wrong_headers_are_refused(data):
    """Whoever can compute a checksum still cannot make the lengths overrun."""
    content = bytearray(Frame("image", MODEL, (b"some", b"parts"), bytes(32)).to_bytes())
    place = data.draw(st.integers(0, HEADER.size + 15).filter(lambda p: not 24 <= p < 72))
    content[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        read_frame(resealed(bytes(content)), "image", MODEL)


@pytest.mark.parametrize(
    ("place", "value", "reason", "status"),
    [
        (0, b"HTTP", "not a frame", 400),
        (4, b"\x02", "version 2 of the wire format; this speaks 1", 400),
        (5, b"\x01", "kind 1 where image", 400),
        (8, b"\xff", "another model", 409),
        (6, b"\xff\xff", "65535 parts do not fit", 400),
        (72, b"\x05", "do not add up", 400),
    ],
)
def test_the_reason_is_told(place, value, reason, status):
    content = bytearray(Frame("image", MODEL, (b"some", b"parts"), bytes(32)).to_bytes())
    content[place : place + len(value)] = value
    with pytest.raises(WireError, match=reason) as error:
        read_frame(resealed(bytes(content)), "image", MODEL)
    assert error.value.status == status


def test_keys_are_called_by_their_content():
    contents = ((b"ab", b"c"), (b"ab", b"c"), (b"a", b"bc"))
    one, same, other = (Frame("keys", MODEL, parts) for parts in contents)
    assert one.identity == same.identity
    assert one.identity != other.identity


def seal_object(body):
    return ENVELOPE.pack(MAGIC, 16, 4, 1, 2, 0, 16 + len(body)) + body


def test_an_object_is_inflated_to_what_it_was():
    body = b"abc" * 1000
    packed = seal_object(zstandard.compress(body))
    assert inflate(packed, 3000)[16:] == body
    assert inflate(plain_envelope(body, 1), 3000)[16:] == body


def test_a_bomb_is_refused_before_it_is_inflated():
    bomb = seal_object(zstandard.compress(bytes(1 << 28)))
    assert len(bomb) < 1 << 17
    with pytest.raises(CiphertextError, match="inflates to 268435456 bytes") as error:
        inflate(bomb, 1 << 20)
    assert error.value.status == 413
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 24))
    with pytest.raises(CiphertextError):
        inflate(seal_object(unknown), 1 << 20)


@settings(max_examples=300)
@given(st.data())
def test_damaged_objects_are_refused_or_whole(data):
    """Zstandard keeps no checksum here: what inflates has the declared size, and SEAL checks it."""
    content = bytearray(seal_object(zstandard.compress(bytes(range(256)) * 20)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CiphertextError):
        assert len(inflate(bytes(content), 5120)) <= 5120 + 16


@pytest.mark.parametrize("cut", [0, 5, 16, 30])
def test_objects_cut_short_are_refused(cut):
    with pytest.raises(CiphertextError):
        inflate(seal_object(zstandard.compress(bytes(9999)))[:cut], 10_000)


@pytest.mark.parametrize("text", ["", "{}", '{"scheme": "ckks"}', '{"scheme": "rot13"}', "[1]"])
def test_what_is_not_an_offer_is_refused(text):
    with pytest.raises(WireError, match="not an offer"):
        read_offer(text)


def test_the_header_is_as_documented():
    content = Frame("image", MODEL, (b"some",), bytes(32), nonce=b"n" * 16).to_bytes()
    assert content[:8] == b"PRVT\x01\x02\x01\x00"
    assert (content[8:24], content[24:40], content[40:72]) == (MODEL, b"n" * 16, bytes(32))
    assert struct.unpack("<Q", content[72:80]) == (4,)
    assert content[80:84] == b"some"
    assert len(content) == 84 + 16
