"""Versioned bytes between a client and a service: frames, and the offer of a model.

A frame is checked here, in Python, before any native parser sees a part of it:

    offset  bytes  what, integers little-endian
    0       4      magic, "PRVT"
    4       1      version
    5       1      kind: see KINDS
    6       2      number of parts
    8       16     digest of the model it is for
    24      16     nonce: a request is answered once
    40      32     identity of the evaluation keys, the SHA-256 of their frame's parts; else zero
    72      8 n    lengths of the parts
    ...            the parts
    end     16     BLAKE2b of all before it: finds damage, not malice
"""

import hashlib
import secrets
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from privacy.errors import WireError
from privacy.settings import Section

MAGIC, VERSION = b"PRVT", 1
KINDS = {"keys": 1, "image": 2, "answer": 3, "batch": 4, "block": 5, "weights": 6, "gradient": 7}
HEADER = struct.Struct("<4sBBH16s16s32s")
CHECKSUM_BYTES = 16
MOST_PARTS = 4096
NO_KEYS = bytes(32)

Kind = Literal["keys", "image", "answer", "batch", "block", "weights", "gradient"]


@dataclass(frozen=True)
class Frame:
    """What goes over the wire at once.

    Attributes:
        model: digest of the model, 16 bytes.
        keys: identity of the evaluation keys to use, 32 bytes.
        nonce: 16 bytes.
    """

    kind: Kind
    model: bytes
    parts: tuple[bytes, ...]
    keys: bytes = NO_KEYS
    nonce: bytes = b""

    def to_bytes(self) -> bytes:
        """The frame as bytes, with a new nonce unless it has one."""
        nonce = self.nonce or secrets.token_bytes(16)
        number = len(self.parts)
        header = HEADER.pack(MAGIC, VERSION, KINDS[self.kind], number, self.model, nonce, self.keys)
        lengths = struct.pack(f"<{number}Q", *map(len, self.parts))
        content = b"".join((header, lengths, *self.parts))
        return content + _checksum(content)

    @cached_property
    def identity(self) -> bytes:
        """SHA-256 of the parts: what evaluation keys are called."""
        total = hashlib.sha256()
        for part in self.parts:
            total.update(struct.pack("<Q", len(part)))
            total.update(part)
        return total.digest()


@dataclass(frozen=True)
class Head:
    """What a service must know of a frame whose parts it does not look into."""

    keys: bytes
    nonce: bytes
    identity: bytes
    size_bytes: int


class Arriving:
    """A frame that comes piece by piece and is kept elsewhere: checked and hashed on its way.

    What is of another kind, for another model or too large is refused as soon as its header is
    there, before its parts are. `most_bytes` is of the whole frame.
    """

    def __init__(self, kind: Kind, model: bytes, most_bytes: int) -> None:
        self._kind, self._model, self._most_bytes = kind, model, most_bytes
        self._start = bytearray()  # the header and the lengths, until they are whole
        self._lengths: list[int] | None = None  # of the parts that are still to come
        self._left = 0  # of the part that comes
        self._size_bytes = 0
        self._checksum = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
        self._identity = hashlib.sha256()
        self._end = bytearray()
        self._keys = self._nonce = b""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            WireError: what is known by now is not what it should be; 413, it will be too large.
        """
        rest = memoryview(piece)
        if self._lengths is None:
            self._start += piece
            rest = self._read_start()
        while rest and self._lengths is not None:
            if not self._left and self._lengths:
                self._left = self._lengths.pop()
                self._identity.update(struct.pack("<Q", self._left))
            elif self._left:
                taken, rest = rest[: self._left], rest[self._left :]
                self._left -= len(taken)
                self._identity.update(taken)
                self._checksum.update(taken)
            else:
                self._end += rest
                rest = rest[:0]
                if len(self._end) > CHECKSUM_BYTES:
                    raise WireError("the lengths of the parts do not add up: more came")

    def _read_start(self) -> memoryview:
        """Check the header once it is whole; what came after it."""
        nothing = memoryview(b"")
        if len(self._start) < HEADER.size:
            return nothing
        num_parts, self._nonce, self._keys = _read_header(self._start, self._kind, self._model)
        end = HEADER.size + 8 * num_parts
        if end + CHECKSUM_BYTES > self._most_bytes:
            raise WireError(f"{num_parts} parts; {self._most_bytes} bytes are the most", 413)
        if len(self._start) < end:
            return nothing
        lengths = list(struct.unpack_from(f"<{num_parts}Q", self._start, HEADER.size))
        self._size_bytes = end + sum(lengths) + CHECKSUM_BYTES
        if self._size_bytes > self._most_bytes:
            raise WireError(f"{self._size_bytes} bytes; {self._most_bytes} are the most", 413)
        self._lengths = lengths[::-1]
        self._checksum.update(bytes(self._start[:end]))
        return memoryview(bytes(self._start[end:]))

    def finish(self) -> Head:
        """The head of the whole frame.

        Raises:
            WireError: it is not whole, or damaged.
        """
        if self._lengths is None or self._left or len(self._end) != CHECKSUM_BYTES:
            raise WireError("a damaged frame: cut short")
        if bytes(self._end) != self._checksum.digest():
            raise WireError("a damaged frame: its checksum does not hold")
        return Head(self._keys, self._nonce, self._identity.digest(), self._size_bytes)


def _read_header(content: bytes | bytearray, kind: Kind, model: bytes) -> tuple[int, bytes, bytes]:
    """The number of parts, the nonce and the identity of keys.

    Raises:
        WireError: it is not the header of such a frame for this model.
    """
    magic, version, number, num_parts, digest, nonce, keys = HEADER.unpack_from(content)
    if magic != MAGIC:
        raise WireError("not a frame of privet")
    if version != VERSION:
        raise WireError(f"version {version} of the wire format; this speaks {VERSION}")
    if number != KINDS[kind]:
        raise WireError(f"a frame of kind {number} where {kind} ({KINDS[kind]}) belongs")
    if digest != model:
        raise WireError("the frame is for another model; ask for the offer again", 409)
    if num_parts > MOST_PARTS:
        raise WireError(f"{num_parts} parts do not fit the frame")
    return num_parts, nonce, keys


def read_frame(content: bytes, kind: Kind, model: bytes) -> Frame:
    """Parse a frame that should be of a kind and for a model.

    Raises:
        WireError: it is not; the error says what it is instead.
    """
    least = HEADER.size + CHECKSUM_BYTES
    if len(content) < least:
        raise WireError(f"a frame of {len(content)} bytes: cut short")
    num_parts, nonce, keys = _read_header(content, kind, model)
    if _checksum(memoryview(content)[:-CHECKSUM_BYTES]) != content[-CHECKSUM_BYTES:]:
        raise WireError("a damaged frame: its checksum does not hold")
    start = HEADER.size + 8 * num_parts
    if start + CHECKSUM_BYTES > len(content):
        raise WireError(f"{num_parts} parts do not fit the frame")
    lengths = struct.unpack_from(f"<{num_parts}Q", content, HEADER.size)
    if start + sum(lengths) + CHECKSUM_BYTES != len(content):
        raise WireError("the lengths of the parts do not add up")
    parts = []
    for length in lengths:
        parts.append(content[start : start + length])
        start += length
    return Frame(kind, model, tuple(parts), keys, nonce)


def _checksum(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECKSUM_BYTES).digest()


class BatchOffer(Section):
    """How to ask for many images at once: one pixel a ciphertext, one image a slot.

    Attributes:
        images: the most in a batch.
        pixels: ciphertexts in a batch.
    """

    images: int = Field(ge=1, le=16384)
    pixels: int = Field(ge=1, le=4096)
    degree: int = Field(ge=1024, le=32768)
    prime_bits: tuple[int, ...] = Field(strict=False, min_length=1, max_length=32)
    special_bits: int = Field(ge=20, le=60)
    input_bits: float = Field(ge=1, le=60)
    logit_divisor: float = Field(gt=0)


class Offered(Section):
    """What a service of any scheme tells of its model.

    Attributes:
        model: digest of what was compiled, in hex.
        weights: SHA-256 of the weights from which it was, in hex; empty: it does not say.
        shape: of the images, (H, W).
        pool: side of the squares of pixels to be averaged.
        num_classes: logits.
        calibration: from what the ranges or widths were taken.
    """

    model: str = Field(pattern="^[0-9a-f]{32}$")
    weights: str = Field(default="", pattern="^([0-9a-f]{64})?$")
    shape: tuple[int, int] = Field(strict=False)
    pool: int = Field(ge=1, le=64)
    num_classes: int = Field(ge=2, le=32768)
    calibration: str = Field(max_length=200)

    @property
    def digest(self) -> bytes:
        """Of the model."""
        return bytes.fromhex(self.model)


class Offer(Offered):
    """How to pack and to encrypt, and nothing that tells of weights.

    Attributes:
        pixels: the pooled pixels in the real and the imaginary part of each slot, -1 for none;
            class c of the answer is in the slots s = c modulo the power of two above.
        degree, prime_bits, special_bits: CKKS parameters; the client's SEAL refuses weak ones.
        input_bits: log2 of the scale at which slots are encoded.
        rotations: the Galois keys that the server needs.
        logit_divisor: the logits come divided by this.
        batch: how to ask for many images at once, if the service lets.
    """

    scheme: Literal["ckks"] = "ckks"
    pixels: tuple[tuple[int, ...], tuple[int, ...]] = Field(strict=False)
    degree: int = Field(ge=1024, le=32768)
    prime_bits: tuple[int, ...] = Field(strict=False, min_length=1, max_length=32)
    special_bits: int = Field(ge=20, le=60)
    input_bits: float = Field(ge=1, le=60)
    rotations: tuple[int, ...] = Field(strict=False, max_length=32768)
    logit_divisor: float = Field(gt=0)
    batch: BatchOffer | None = None

    @property
    def security(self) -> str:
        """In words."""
        bits = sum(self.prime_bits) + self.special_bits
        return (
            f"CKKS, ring of degree {self.degree}, modulus of {bits} bits: 128-bit security; "
            f"calibrated on {self.calibration}"
        )


class BooleanOffer(Offered):
    """How to ask a circuit.

    Attributes:
        threshold: a pixel that reaches it is a one.
        specs: Concrete's specification of the client's parameters, base64.
        sum_bits: the width of the circuit's sums.
        p_error: of one bootstrap.
        error_rate: that noise changes anything of an answer, at most.
    """

    scheme: Literal["boolean"] = "boolean"
    threshold: float = Field(ge=0, lt=1)
    specs: str = Field(max_length=1 << 24)
    sum_bits: int = Field(ge=2, le=16)
    p_error: float = Field(gt=0, lt=1)
    error_rate: float = Field(gt=0, lt=1)

    @property
    def security(self) -> str:
        """In words."""
        return (
            f"TFHE by Concrete: 128-bit security; sums of {self.sum_bits} bits, an answer wrong by "
            f"noise once in {1 / self.error_rate:,.0f} at most; calibrated on {self.calibration}"
        )


AnyOffer = Annotated[Offer | BooleanOffer, Field(discriminator="scheme")]
_OFFERS: TypeAdapter[Offer | BooleanOffer] = TypeAdapter(AnyOffer)


def read_offer(content: bytes | str) -> Offer | BooleanOffer:
    """Parse what a service offers.

    Raises:
        WireError: it is not an offer.
    """
    try:
        return _OFFERS.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise WireError(f"not an offer: {first['loc']}: {first['msg']}") from None
