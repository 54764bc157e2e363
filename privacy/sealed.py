"""The envelope of SEAL's files, checked and opened before SEAL's own parser sees what is in it.

16 bytes (SEAL 4, serialization.h): magic 0xA15E, size of this header, version, kind of compression,
zeros, and the length of the whole; then the content, compressed.
"""

import struct

import zstandard

from privacy.errors import CiphertextError

ENVELOPE = struct.Struct("<HBBBBHQ")
MAGIC, MAJOR = 0xA15E, 4
PLAIN, ZSTD = 0, 2


def inflate(content: bytes, most_bytes: int) -> bytes:
    """The same object in an uncompressed envelope.

    Raises:
        CiphertextError: not an envelope of SEAL's, cut short, or larger than it may be.
    """
    if len(content) < ENVELOPE.size:
        raise CiphertextError("cut short: no room for SEAL's header")
    magic, header, major, minor, compression, zeros, length = ENVELOPE.unpack_from(content)
    if (magic, header, major, zeros) != (MAGIC, ENVELOPE.size, MAJOR, 0):
        raise CiphertextError("not an object of SEAL 4")
    if length != len(content):
        raise CiphertextError(f"SEAL's header tells of {length} bytes, these are {len(content)}")
    body = content[ENVELOPE.size :]
    if compression == ZSTD:
        body = _unpack(body, most_bytes)
    elif compression != PLAIN:
        raise CiphertextError(f"compression {compression} is not known here")
    if len(body) > most_bytes:
        raise CiphertextError(f"{len(body)} bytes, where {most_bytes} are the most", 413)
    return plain_envelope(body, minor)


def plain_envelope(body: bytes, minor: int) -> bytes:
    """An uncompressed object of SEAL's from its body."""
    length = ENVELOPE.size + len(body)
    return ENVELOPE.pack(MAGIC, ENVELOPE.size, MAJOR, minor, PLAIN, 0, length) + body


def _unpack(body: bytes, most_bytes: int) -> bytes:
    try:
        declared = zstandard.frame_content_size(body)
        if not 0 <= declared <= most_bytes:
            raise CiphertextError(f"inflates to {declared} bytes; {most_bytes} are the most", 413)
        return zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise CiphertextError(f"damaged: {error}") from None
