"""The PUBLIC side of batched CKKS: one pixel a ciphertext, one image a slot (CryptoNets, 2016).

Nothing is rotated, so a dense layer is a matrix product over whole ciphertexts. The primes are so
small that all is done exactly in float64: the words of all ciphertexts form one matrix, which BLAS
multiplies by the integer weights, residue by residue, and a product of two words stays whole. The
square is left at three polynomials, so there is no relinearization, and a client needs no
evaluation keys at all.

Shapes: I input pixels, H hidden units, R classes, K polynomials, L primes, N the ring's degree.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import tenseal.sealapi as seal
from numpy.typing import NDArray
from safetensors.numpy import load, save

from privacy.encrypted.net import Array, Dense, Net, normalise
from privacy.encrypted.ring.foreign import COUNT, HEAD, Level, read_ciphertext
from privacy.encrypted.wire import BatchOffer
from privacy.errors import CiphertextError, ModelError
from privacy.seal import SLACK_BYTES, from_bytes, make_context, to_bytes
from privacy.sealed import plain_envelope

DEGREE, PRIME_BITS, SPECIAL_BITS = 4096, (26, 26, 26), 25  # no key is switched
INPUT_BITS, WEIGHT_BITS = 18, (13, 12)  # as many labels stay as can; at 20 and 11, 3 in 1,000 fewer
HEADROOM_BITS = 2  # above the calibration's largest logit, sign included
EXACT_BITS = 53  # integers that float64 holds
MOST_PIXELS = 900  # each about 104 kB: what a service takes in one request (`request_bytes`)

Words = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class BatchNet:
    """Integer weights at their scales: w1 [H, I], b1 [H], w2 [R, H], b2 [R]."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array


def batch_net(net: Net, calibration: Array) -> tuple[BatchNet, float]:
    """A perceptron with one hidden layer, in integers.

    Returns:
        The net, and what its logits must be multiplied by.

    Raises:
        ModelError: another kind of net, or one whose sums would not be exact or would overflow.
    """
    if (pixels := net.pooled[0] * net.pooled[1]) > MOST_PIXELS:
        raise ModelError(f"{pixels} inputs; a batch has room for {MOST_PIXELS}")
    normal, divisor = normalise(net, calibration)
    if len(normal.layers) != 2 or not all(isinstance(layer, Dense) for layer in normal.layers):
        raise ModelError("batches are for perceptrons with one hidden layer; ask image by image")
    first, second = normal.layers
    scale = INPUT_BITS + WEIGHT_BITS[0]
    found = BatchNet(
        np.rint(first.weight * 2.0 ** WEIGHT_BITS[0]),
        np.rint(first.bias * 2.0**scale),
        np.rint(second.weight * 2.0 ** WEIGHT_BITS[1]),
        np.rint(second.bias * 2.0 ** (2 * scale + WEIGHT_BITS[1])),
    )
    for weight in (found.w1, found.w2):
        if np.abs(weight).sum(1).max() * 2.0 ** max(PRIME_BITS) >= 2.0**EXACT_BITS:
            raise ModelError("a unit's weights are too many or too large for exact sums; prune it")
    if 2 * scale + WEIGHT_BITS[1] + HEADROOM_BITS > sum(PRIME_BITS):
        raise ModelError("the batch's scales exceed its modulus")
    return found, divisor


class BatchProgram:
    """A net over batches of ciphertexts."""

    def __init__(self, net: BatchNet) -> None:
        self.net = net
        self.context = make_context(DEGREE, PRIME_BITS, SPECIAL_BITS)
        self._evaluator = seal.Evaluator(self.context)
        data = self.context.first_context_data()
        self._minor = to_bytes(data.parms())[4]  # of SEAL's version
        self._primes = np.array([m.value() for m in data.parms().coeff_modulus()], np.uint64)
        parms_id = struct.pack("<4Q", *self.context.first_parms_id())
        self._level = Level(parms_id, self._primes, DEGREE)
        # a number in NTT form is the same word everywhere; b2 is longer than a word
        self._b1_HL1 = _residues(net.b1, self._primes)[:, :, None]
        self._b2_RL1 = _residues(net.b2, self._primes)[:, :, None]

    def run(self, parts: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """From a ciphertext for each pixel to one for each class.

        Raises:
            CiphertextError: not one ciphertext a pixel, or one is not at the first level and scale.
        """
        if len(parts) != self.net.w1.shape[1]:
            raise CiphertextError(f"{len(parts)} pixels; the model has {self.net.w1.shape[1]}")
        x_IKLN = np.empty((len(parts), 2, len(PRIME_BITS), DEGREE))
        most = 8 * x_IKLN[0].size + SLACK_BYTES
        for pixel, part in enumerate(parts):
            x_IKLN[pixel] = read_ciphertext(part, self._level, 2.0**INPUT_BITS, most)
        return tuple(self._write(y_KLN) for y_KLN in self.evaluate(x_IKLN))

    def evaluate(self, x_IKLN: Array) -> Words:
        """From words of ciphertexts, a pixel each, to those of the logits, a class each."""
        z_HKLN = self._multiply(self.net.w1, x_IKLN)
        z_HKLN[:, 0] += self._b1_HL1
        square_HKLN = np.empty((len(z_HKLN), 3, *z_HKLN.shape[2:]))
        # a unit at a time, which stays in the cache
        for z_KLN, square_KLN in zip(z_HKLN, square_HKLN, strict=True):
            self._reduce(z_KLN)
            np.multiply(z_KLN[0], z_KLN[0], out=square_KLN[0])
            np.multiply(2 * z_KLN[0], z_KLN[1], out=square_KLN[1])
            np.multiply(z_KLN[1], z_KLN[1], out=square_KLN[2])
            self._reduce(square_KLN)
        y_RKLN = self._multiply(self.net.w2, square_HKLN)
        y_RKLN[:, 0] += self._b2_RL1
        self._reduce(y_RKLN)
        return (y_RKLN.astype(np.int64) % self._primes.astype(np.int64)[:, None]).astype(np.uint64)

    def _multiply(self, weight_OI: Array, x_IKLN: Array) -> Array:
        """Integer weights times residues: exact, for all sums stay below 2^53."""
        y: Array = weight_OI @ x_IKLN.reshape(len(x_IKLN), -1)
        return y.reshape(len(weight_OI), *x_IKLN.shape[1:])

    def _reduce(self, y_KLN: Array) -> None:
        """Integers below 2^53 modulo their primes, in place: between -p and p, both included."""
        primes = self._primes.astype(np.float64)[:, None]
        y_KLN -= np.floor(y_KLN * (1 / primes)) * primes

    def _write(self, words_KLN: Words) -> bytes:
        """Words as a ciphertext of SEAL's, one prime lower."""
        num = words_KLN.size
        scale = 2.0 ** (2 * (INPUT_BITS + WEIGHT_BITS[0]) + WEIGHT_BITS[1])
        head = HEAD.pack(self._level.parms_id, 1, len(words_KLN), DEGREE, len(PRIME_BITS), scale, 1)
        array = plain_envelope(COUNT.pack(num) + words_KLN.tobytes(), self._minor)
        content = plain_envelope(head + array, self._minor)
        answer = from_bytes(seal.Ciphertext(), self.context, content, 8 * num + SLACK_BYTES)
        self._evaluator.rescale_to_next_inplace(answer)
        return to_bytes(answer)


def _residues(values: Array, primes: Words) -> Words:
    """Integers [n], of any size that float64 holds, modulo each prime: [n, L]."""
    return np.array([[int(v) % int(p) for p in primes] for v in values], np.uint64)


def batch_offer(net: Net, divisor: float) -> BatchOffer:
    """What a client is told of a batch."""
    return BatchOffer(
        images=DEGREE // 2,
        pixels=net.pooled[0] * net.pooled[1],
        degree=DEGREE,
        prime_bits=PRIME_BITS,
        special_bits=SPECIAL_BITS,
        input_bits=INPUT_BITS,
        logit_divisor=divisor,
    )


def batch_to_bytes(net: BatchNet) -> bytes:
    """As safetensors."""
    return save({name: np.ascontiguousarray(array) for name, array in vars(net).items()})


def batch_from_bytes(content: bytes) -> BatchNet:
    """What `batch_to_bytes` wrote."""
    arrays: dict[str, Any] = load(content)
    return BatchNet(arrays["w1"], arrays["b1"], arrays["w2"], arrays["b2"])
