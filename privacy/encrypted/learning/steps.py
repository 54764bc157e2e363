"""The PUBLIC side of learning: a gradient from encrypted records and encrypted weights.

Nothing here can decrypt. SEAL holds Python's lock while it computes: a process for each course.

Shapes: B blocks, D features, K outputs.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from privacy.encrypted.learning.course import (
    ANSWER_PRIMES,
    DEGREE,
    INPUT_BITS,
    PRIME_BITS,
    RESIDUAL_PRIMES,
    SPECIAL_BITS,
    WEIGHT_BITS,
    Course,
)
from privacy.errors import CiphertextError
from privacy.seal import SLACK_BYTES, from_bytes, make_context, to_bytes

POLYNOMIAL_BYTES = 8 * DEGREE  # modulo one prime
PRIMES = len(PRIME_BITS)


def course_context() -> Any:
    """The one context of all courses."""
    return make_context(DEGREE, PRIME_BITS, SPECIAL_BITS)


class Levels:
    """Where in the chain of primes things meet, and at which scale.

    Attributes:
        full: the parms_id of fresh columns and weights.
        residual, answer: of a residual, and of a gradient that leaves.
        residual_scale: what targets are encrypted at, to be taken from margins or their cubes.
        answer_scale: of a gradient, before it is gathered.
    """

    def __init__(self, context: Any, cubic: bool) -> None:
        data, ids, primes = context.first_context_data(), [], []
        while data is not None:
            ids.append(data.parms_id())
            primes.append(data.parms().coeff_modulus()[-1].value())
            data = data.next_context_data()
        self.ids = ids
        self.full = ids[0]
        self.residual, self.answer = ids[PRIMES - RESIDUAL_PRIMES], ids[PRIMES - ANSWER_PRIMES]
        margin = 2.0 ** (INPUT_BITS + WEIGHT_BITS) / primes[0]
        square = margin * margin / primes[1]
        cube = margin * square / primes[2]
        self.residual_scale = cube if cubic else margin
        self.answer_scale = self.residual_scale * 2.0**INPUT_BITS / primes[3]


class Steps:
    """A course's encrypted records, and the keys to compute on them."""

    def __init__(self, course: Course, keys: Sequence[bytes]) -> None:
        """Args:
        keys: of `Owner.evaluation`: relinearization keys and, if packed, Galois keys.

        Raises:
            CiphertextError: they are not keys under these parameters.
        """
        self.course, self._context = course, course_context()
        self._levels = Levels(self._context, course.cubic)
        self._evaluator = seal.Evaluator(self._context)
        self._encoder = seal.CKKSEncoder(self._context)
        if len(keys) != 1 + course.packed:
            raise CiphertextError(f"{len(keys)} parts of keys, where {1 + course.packed} belong")
        key_bytes = PRIMES * (2 * (PRIMES + 1) * POLYNOMIAL_BYTES + SLACK_BYTES)
        self._relin = from_bytes(seal.RelinKeys(), self._context, keys[0], key_bytes)
        self._galois = None
        if course.packed:
            most = len(course.galois_elements) * key_bytes + 8 * DEGREE + SLACK_BYTES
            self._galois = from_bytes(seal.GaloisKeys(), self._context, keys[1], most)
            if not all(map(self._galois.has_key, course.galois_elements)):
                raise CiphertextError("a Galois key is missing")
        self._columns: dict[tuple[int, int], Any] = {}
        self._targets: dict[tuple[int, int], Any] = {}

    # ---- records

    def add_block(self, block: int, parts: Sequence[bytes]) -> None:
        """Take a block of records: its columns [D], then its targets [K].

        Raises:
            CiphertextError: one is missing, or is not a fresh ciphertext of its kind.
        """
        features, outputs = self.course.features, self.course.outputs
        if len(parts) != features + outputs:
            raise CiphertextError(f"{len(parts)} ciphertexts; a block has {features + outputs}")
        levels = self._levels
        columns = [self._load(part, levels.full, 2.0**INPUT_BITS) for part in parts[:features]]
        targets = [
            self._load(part, levels.residual, levels.residual_scale) for part in parts[features:]
        ]
        self._columns |= {(block, feature): column for feature, column in enumerate(columns)}
        self._targets |= {(block, output): target for output, target in enumerate(targets)}

    @property
    def blocks(self) -> set[int]:
        """That are here, whole."""
        return {block for block, _ in self._targets}

    def _load(self, part: bytes, parms_id: Any, scale: float) -> Any:
        most = 2 * PRIMES * POLYNOMIAL_BYTES + SLACK_BYTES
        loaded = from_bytes(seal.Ciphertext(), self._context, part, most)
        if loaded.size() != 2 or loaded.parms_id() != parms_id or loaded.scale != scale:
            raise CiphertextError("a ciphertext at another level or scale than belongs here")
        if loaded.is_transparent():
            raise CiphertextError("a ciphertext that hides nothing")
        return loaded

    # ---- a step

    def gradient(self, letters: Sequence[bytes]) -> list[bytes]:
        """A step's gradient, encrypted, from encrypted weights.

        Args:
            letters: of `Owner.encrypt_weights`.

        Raises:
            CiphertextError: they are not as many as belong here, or not fresh ciphertexts.
        """
        if len(letters) != self.course.letters:
            raise CiphertextError(f"{len(letters)} letters, where {self.course.letters} belong")
        residuals = self._residuals(self._margins(letters))
        leaves, answer = self.course.leaves, []
        for start in range(0, self.course.numbers, leaves):
            numbers = range(start, min(start + leaves, self.course.numbers))
            found = [self._correlate(number, residuals) for number in numbers]
            answer.append(to_bytes(self._gather(found, leaves, 0)))
        return answer

    def _margins(self, letters: Sequence[bytes]) -> list[list[Any]]:
        """u = w . x of each block's records, of each output [B][K]; few weights are held."""
        scale, blocks = 2.0**self.course.letter_bits, range(self.course.blocks)
        weights = (
            weight
            for letter in letters
            for weight in self._spread(self._load(letter, self._levels.full, scale))
        )
        margins: list[list[Any]] = [[] for _ in blocks]
        for _ in range(self.course.outputs):
            totals: list[Any] = [None for _ in blocks]
            for feature in range(self.course.features):
                weight = next(weights)
                for block in blocks:
                    product = seal.Ciphertext()
                    self._evaluator.multiply(self._columns[block, feature], weight, product)
                    totals[block] = self._plus(totals[block], product)
            for block in blocks:
                margins[block].append(self._settle(totals[block]))
        return margins

    def _residuals(self, margins: Sequence[list[Any]]) -> list[list[Any]]:
        """r of each block's records, of each output, at the level where it meets the columns."""
        residuals = []
        for block, found in enumerate(margins):
            if self.course.cubic:
                found = list(map(self._cube, found, self._rests(found)))
            for output, residual in enumerate(found):
                self._evaluator.mod_switch_to_inplace(residual, self._levels.residual)
                residual.scale = self._levels.residual_scale  # equal but for a float64's last bits
                self._evaluator.sub_inplace(residual, self._targets[block, output])
            residuals.append(found)
        return residuals

    def _rests(self, margins: Sequence[Any]) -> list[Any]:
        """offset - u^2 of each margin, or, of a softmax, offset - |u|^2 for all."""
        squares = []
        for margin in margins:
            squares.append(seal.Ciphertext())
            self._evaluator.square(margin, squares[-1])
        if self.course.joint:
            squares = [reduce(self._plus, squares)]
        for square in squares:
            self._settle(square)
            offset = seal.Plaintext()
            self._encoder.encode(self.course.offset, square.parms_id(), square.scale, offset)
            self._evaluator.sub_plain_inplace(square, offset)
            self._evaluator.negate_inplace(square)
        return squares * len(margins) if self.course.joint else squares

    def _cube(self, margin: Any, rest: Any) -> Any:
        """u (offset - u^2)."""
        product = seal.Ciphertext()
        self._evaluator.mod_switch_to_inplace(margin, rest.parms_id())
        self._evaluator.multiply(margin, rest, product)
        return self._settle(product)

    def _plus(self, total: Any, one: Any) -> Any:
        """Their sum, in the place of the first; the second alone, where there is no first."""
        if total is None:
            return one
        self._evaluator.add_inplace(total, one)
        return total

    def _settle(self, product: Any) -> Any:
        self._evaluator.relinearize_inplace(product, self._relin)
        self._evaluator.rescale_to_next_inplace(product)
        return product

    def _correlate(self, number: int, residuals: Sequence[list[Any]]) -> Any:
        """One number of the gradient: in the mean of the slots."""
        output, feature = divmod(number, self.course.features)
        total = None
        for block in range(self.course.blocks):
            column, product = seal.Ciphertext(), seal.Ciphertext()
            self._evaluator.mod_switch_to(
                self._columns[block, feature], self._levels.residual, column
            )
            self._evaluator.multiply(column, residuals[block][output], product)
            total = self._plus(total, product)
        return self._settle(total)

    # ---- between one number a ciphertext and many

    def _spread(self, letter: Any) -> list[Any]:
        """The coefficients of a polynomial in X^(N / leaves), each as a constant times leaves."""
        found, leaves = [letter], self.course.leaves
        step = DEGREE // leaves
        while step < DEGREE:
            turn = self._monomial(2 * DEGREE - step, letter.parms_id())
            even, odd = [], []
            for one in found:
                image, difference, total = seal.Ciphertext(), seal.Ciphertext(), seal.Ciphertext()
                self._evaluator.apply_galois(one, DEGREE // step + 1, self._galois, image)
                self._evaluator.add(one, image, total)
                self._evaluator.sub(one, image, difference)
                self._evaluator.multiply_plain_inplace(difference, turn)
                even.append(total)
                odd.append(difference)
            found = [*even, *odd]
            step *= 2
        for constant in found:
            constant.scale = 2.0**WEIGHT_BITS  # every sum above has doubled what is kept
        return found

    def _gather(self, numbers: Sequence[Any], leaves: int, start: int, stride: int = 1) -> Any:
        """Their lowest coefficients, times leaves, as those of X^(N / leaves); None for no one."""
        if start >= len(numbers):
            return None
        if stride == leaves:
            return numbers[start]
        even = self._gather(numbers, leaves, start, 2 * stride)
        odd = self._gather(numbers, leaves, start + stride, 2 * stride)
        size = leaves // stride  # numbers in this part
        total, difference, image = seal.Ciphertext(), seal.Ciphertext(), seal.Ciphertext()
        if odd is None:
            total = difference = even
        else:
            turn = self._monomial(DEGREE // size, even.parms_id())
            self._evaluator.multiply_plain_inplace(odd, turn)
            self._evaluator.add(even, odd, total)
            self._evaluator.sub(even, odd, difference)
        self._evaluator.apply_galois(difference, size + 1, self._galois, image)
        result = seal.Ciphertext()
        self._evaluator.add(total, image, result)
        return result

    def _monomial(self, power: int, parms_id: Any) -> Any:
        """X^power as a plaintext of scale 1, whose slots are powers of roots of unity."""
        slots = np.exp(1j * np.pi / DEGREE * (power * slot_powers() % (2 * DEGREE)))
        plain = seal.Plaintext()
        self._encoder.encode(slots.tolist(), parms_id, 1.0, plain)
        return plain


def slot_powers() -> Any:
    """int64 [S]: slot s is the value at the root of unity of order 2 N to the power 3^s."""
    powers = np.empty(DEGREE // 2, np.int64)
    power = 1
    for slot in range(len(powers)):
        powers[slot] = power
        power = power * 3 % (2 * DEGREE)
    return powers


def part_bytes(course: Course) -> tuple[int, int, int]:
    """The most bytes of a part: of relinearization keys, of Galois keys, of a ciphertext."""
    key = PRIMES * (2 * (PRIMES + 1) * POLYNOMIAL_BYTES + SLACK_BYTES)
    return key, len(course.galois_elements) * key, 2 * PRIMES * POLYNOMIAL_BYTES + SLACK_BYTES
