"""What owner and server both know of a training: shapes, levels and scales. Nothing of records.

Records lie in columns: a ciphertext for each feature of a block, a record in each slot. So an inner
product of records and weights is a sum of products without a rotation, and a gradient's sum over
records is left in the sum over slots, which is the polynomial's lowest coefficient times their
number: the mean of all slots.

Weights are numbers that stand in every slot, constant polynomials. They come one to a ciphertext,
or (`packed`) as coefficients of few, which the server spreads (Angel et al. 2018, algorithm 1); a
gradient's lowest coefficients are gathered into few in the same way (Chen, Dai, Kim and Song 2021).

A step takes four levels: u = w . x; u^2; u (offset - u^2), of a softmax u (offset - |u|^2) over its
outputs; times x. They are primes of 30 bits above one of 44, which leaves 2^13 for sums, and one of
50 for key switching: 214 bits, all that 128-bit security allows in degree 8192.
"""

import hashlib
from functools import cached_property
from math import log2, sqrt

from pydantic import Field

from privacy.encrypted.layout import power_of_two
from privacy.settings import Section

DEGREE = 8192
SLOTS = DEGREE // 2
PRIME_BITS = (44, 30, 30, 30, 30)
SPECIAL_BITS = 50
INPUT_BITS = 28  # log2 of a column's scale
WEIGHT_BITS = 32  # of a weight's, where it meets a column
LEAVES = 256  # weights in a packed ciphertext
MOST_FEATURES, MOST_OUTPUTS, MOST_BLOCKS = 1280, 128, 64
MOST_LETTERS = 1024
MOST_MEMORY_BYTES = 7 << 30  # of a worker's 8 GiB, for records and what is made of them
RESIDUAL_PRIMES = 2  # left where the residual meets the columns
ANSWER_PRIMES = 1  # left of a gradient
MOST_SUM = 100.0  # of a gradient's number over its slots: 2^36 of it is less than half the prime
DEVIATION = 2.0**-13  # of an answer's error, for each block and unit of the residual; measured: 1/4
DEVIATIONS = 6.0  # that are reckoned with


class Course(Section):
    """One training, as a server is told of it.

    Attributes:
        blocks: of 4,096 records: how many there are of them is not told more exactly.
        features: numbers in each.
        outputs: models trained at once on the same records: one, or one for each class.
        cubic: the residual is u (offset - u^2) - t; else u - t.
        joint: u^2 is |u|^2 of all outputs.
        offset: of the residual, in units of the weights as they are encrypted.
        packed: weights and gradients travel as coefficients of few ciphertexts.
    """

    blocks: int = Field(ge=1, le=MOST_BLOCKS)
    features: int = Field(ge=1, le=MOST_FEATURES)
    outputs: int = Field(ge=1, le=MOST_OUTPUTS)
    cubic: bool
    offset: float = Field(gt=0, le=100)
    packed: bool
    joint: bool = False

    @cached_property
    def digest(self) -> bytes:
        """What frames of this training are marked with."""
        return hashlib.blake2b(self.model_dump_json().encode(), digest_size=16).digest()

    @property
    def numbers(self) -> int:
        """Weights, and numbers of a gradient."""
        return self.features * self.outputs

    def error(self, most: float) -> float:
        """What encryption may add to a gradient, in norm: a bound but for chances below 10^-8.

        It grows with the noise of columns, which is multiplied by residuals and added up.

        Args:
            most: that a number of r is.
        """
        each = DEVIATIONS * DEVIATION * (1 + most) * sqrt(self.blocks)
        return each * sqrt(self.numbers)

    @property
    def leaves(self) -> int:
        """Numbers in a ciphertext of weights or of a gradient: a power of two."""
        return min(LEAVES, max(2, power_of_two(self.numbers))) if self.packed else 1

    @property
    def letters(self) -> int:
        """Ciphertexts of weights, or of a gradient."""
        return -(-self.numbers // self.leaves)

    @property
    def excess(self) -> str:
        """What a service does not take of it, and the remedy; empty if it takes all."""
        if self.letters > MOST_LETTERS:
            return (
                f"{self.letters} ciphertexts of weights, where {MOST_LETTERS} fit: say letters = "
                "'packed'"
            )
        polynomial_bytes = 2 * 8 * DEGREE  # of both, modulo one prime
        column, target = len(PRIME_BITS) * polynomial_bytes, RESIDUAL_PRIMES * polynomial_bytes
        each = self.features * column + self.outputs * (column + target)  # and their margins
        if self.blocks * each > MOST_MEMORY_BYTES:
            return (
                f"{self.blocks} blocks of records, of {each / 1e9:.2f} GB each, where a server has "
                f"{MOST_MEMORY_BYTES / 1e9:.1f} GB for all: take up to "
                f"{MOST_MEMORY_BYTES // each * SLOTS:,} records, or fewer features"
            )
        return ""

    @property
    def letter_bits(self) -> float:
        """log2 of the scale at which weights are encrypted: spreading multiplies it."""
        return WEIGHT_BITS - log2(self.leaves)

    @property
    def galois_elements(self) -> list[int]:
        """Automorphisms that spread and gather: X -> X^(2^k + 1)."""
        return [2**k + 1 for k in range(1, self.leaves.bit_length())]
