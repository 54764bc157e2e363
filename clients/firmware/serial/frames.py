"""Frames of the serial protocol, as serial.c has them.

version, type, number (2 bytes), length (2), content, CRC-32 (IEEE 802.3) of all before it; in COBS
(Cheshire and Baker 1999), between two zeros. Whatever a line garbles ends at the next zero.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

VERSION = 1
MOST = 240  # bytes of a frame's content
HEADER = struct.Struct("<BBHH")
CHECK = struct.Struct("<I")
MOST_CODED = HEADER.size + MOST + CHECK.size + 2  # a code for each 254 bytes that are no zero


class Frame(NamedTuple):
    """One request or answer."""

    type: int
    number: int
    content: bytes
    version: int = VERSION


def encode(frame: Frame) -> bytes:
    """As it goes over the line.

    Raises:
        ValueError: the content is too long.
    """
    if len(frame.content) > MOST:
        raise ValueError(f"{len(frame.content)} bytes; a frame holds {MOST}")
    head = HEADER.pack(frame.version, frame.type, frame.number, len(frame.content))
    body = head + frame.content
    return b"\0" + _without_zeros(body + CHECK.pack(zlib.crc32(body))) + b"\0"


class Decoder:
    """Bytes in, frames out. What is no frame is left out; it never holds more than one of them."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._is_bad = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that `data` completes."""
        for byte in data:
            if byte:
                self._is_bad |= len(self._held) >= MOST_CODED
                if not self._is_bad:
                    self._held.append(byte)
                continue
            frame = None if self._is_bad else _decoded(bytes(self._held))
            self._held.clear()
            self._is_bad = False
            if frame is not None:
                yield frame


def _decoded(coded: bytes) -> Frame | None:
    body = _with_zeros(coded)
    if body is None or not HEADER.size + CHECK.size <= len(body):
        return None
    version, type_, number, length = HEADER.unpack_from(body)
    inside = body[: -CHECK.size]
    if length > MOST or len(inside) != HEADER.size + length:
        return None
    if CHECK.unpack(body[-CHECK.size :])[0] != zlib.crc32(inside):
        return None
    return Frame(type_, number, inside[HEADER.size :], version)


def _without_zeros(body: bytes) -> bytes:
    coded = bytearray()
    for part in body.split(b"\0"):
        while len(part) >= 254:
            coded += b"\xff" + part[:254]
            part = part[254:]
        coded += bytes([len(part) + 1]) + part
    return bytes(coded)


def _with_zeros(coded: bytes) -> bytes | None:
    body, place = bytearray(), 0
    while place < len(coded):
        code = coded[place]
        block = coded[place + 1 : place + code]
        if len(block) != code - 1:
            return None
        place += code
        body += block
        if code < 255 and place < len(coded):
            body.append(0)
    return bytes(body)
