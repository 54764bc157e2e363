"""[compression]: what a client sends, in few bits. It saves bytes; it is no privacy.

Under record-level DP it comes after the noise, so it costs no epsilon and promises nothing more.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from privacy.settings import Range, Section

if TYPE_CHECKING:  # a section of settings needs no Flower, and no compiler
    from flwr.app import ArrayRecord

    from privacy.cipher import Key

Weights = Mapping[str, NDArray]
CODES, SCALES = "codes", "scales"


class Compression(Section):
    """How an update is rounded before it leaves the device.

    A block's numbers lie between -m and m, its largest magnitude; each is rounded at random to one
    of the two nearest of 2^bits evenly spaced values, so that its mean is itself (QSGD, Alistarh et
    al. 2017). Sent are the codes, packed, and one float32 m a block.

    Attributes:
        bits: of a weight's update; 32 sends the weights as they are.
        block: numbers that share a scale.
    """

    bits: Literal[1, 2, 4, 8, 32] = 32
    block: Annotated[int, Range(8, 1 << 20)] = 256

    def pack(self, before: Weights, after: Weights, key: "Key") -> "ArrayRecord":
        """What to send of the weights `after`, trained from `before`.

        Args:
            key: of the round; another update is rounded by other draws.
        """
        from clients.training.arrays import held
        from privacy.cipher import Stream

        if self.bits == 32:
            return held({name: np.array(w) for name, w in after.items()})
        update = np.concatenate([(after[n] - before[n]).ravel() for n in _floats(before)])
        blocks = np.zeros((math.ceil(update.size / self.block), self.block), np.float32)
        blocks.reshape(-1)[: update.size] = update
        scales = np.abs(blocks).max(1)
        words = Stream(key.derive(update.tobytes())).words(blocks.size)
        draws = ((words >> np.uint64(40)) * np.float32(2.0**-24)).reshape(blocks.shape)
        shares = blocks / np.where(scales > 0, scales, 1)[:, None]  # in [-1, 1]
        codes = np.floor((shares + 1) * np.float32(self._most / 2) + draws)
        codes = np.clip(codes, 0, self._most).astype(np.uint8).reshape(-1)[: update.size]
        sent = {CODES: _pack(codes, self.bits), SCALES: scales}
        whole = {n: np.array(w) for n, w in after.items() if n not in _floats(before)}
        return held(sent | whole)

    def unpack(self, sent: "ArrayRecord", before: Weights) -> "ArrayRecord":
        """The weights that a client had, as far as they can be known.

        Raises:
            ValueError: not what `pack` sends for such weights.
        """
        from flwr.app import ArrayRecord

        from clients.training.arrays import HeldArray, decode

        if self.bits == 32:
            return sent
        size = sum(before[name].size for name in _floats(before))
        num_blocks, num_bytes = math.ceil(size / self.block), math.ceil(size * self.bits / 8)
        expected = {CODES: (num_bytes, np.uint8), SCALES: (num_blocks, np.float32)}
        arrays = {}
        for name, (length, kind) in expected.items():
            if name not in sent:
                raise ValueError(f"{name} is missing")
            arrays[name] = decode(name, sent[name], (length,), kind)
        codes = _unpack(arrays[CODES], self.bits)[:size].astype(np.float32)
        update = (codes * np.float32(2 / self._most) - 1) * np.repeat(arrays[SCALES], self.block)[
            :size
        ]
        parts, start = {}, 0
        for name in _floats(before):
            parts[name] = update[start : start + before[name].size]
            start += before[name].size
        weights = ArrayRecord()
        for name, old in before.items():
            if name in parts:
                part = parts[name].reshape(old.shape)
                weights[name] = HeldArray((old + part).astype(old.dtype))
            else:
                weights[name] = sent[name]
        return weights

    @property
    def _most(self) -> int:
        return (1 << self.bits) - 1


def size_bytes(sent: "ArrayRecord") -> int:
    """Of all arrays, without Flower's envelope."""
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in sent.values())


def _floats(weights: Weights) -> list[str]:
    """What is trained; a layer's counters of batches, say, are sent as they are.

    By name: codes have none, and a device need not hold its weights in the server's order.
    """
    return sorted(name for name, array in weights.items() if array.dtype.kind == "f")


def _pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of so many bits each, the first in the lowest bits of a byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    padded = np.zeros(-(-len(codes) // len(shifts)) * len(shifts), np.uint8)
    padded[: len(codes)] = codes
    packed: NDArray[np.uint8] = (padded.reshape(-1, len(shifts)) << shifts).sum(1, dtype=np.uint8)
    return packed


def _unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: NDArray[np.uint8] = packed[:, None] >> shifts & np.uint8((1 << bits) - 1)
    return codes.reshape(-1)
