"""The SECRET side of learning: keys, encrypted records and weights, decrypted gradients.

What a gradient's ciphertext decrypts to stays with the owner, whose records it is of: with the
ciphertext at hand, a decryption tells of the key (Li and Micciancio 2021), so no raw one is shown.
"""

import numpy as np
import tenseal.sealapi as seal
from numpy.typing import NDArray

from privacy.encrypted.learning.course import DEGREE, INPUT_BITS, SLOTS, Course
from privacy.encrypted.learning.residual import Array
from privacy.encrypted.learning.steps import Levels, course_context, slot_powers
from privacy.errors import CiphertextError
from privacy.seal import from_bytes, to_bytes


class Owner:
    """A secret key, and what is made with it."""

    def __init__(self, course: Course, secret: bytes | None = None) -> None:
        """Make a new key, or take one from bytes.

        Raises:
            CiphertextError: the bytes are not a secret key under these parameters.
        """
        self.course, self._context = course, course_context()
        self._levels = Levels(self._context, course.cubic)
        if secret is None:
            self._generator = seal.KeyGenerator(self._context)
            self._secret = self._generator.secret_key()
        else:
            self._secret = from_bytes(seal.SecretKey(), self._context, secret)
            self._generator = seal.KeyGenerator(self._context, self._secret)
        self._encryptor = seal.Encryptor(self._context, self._secret)
        self._decryptor = seal.Decryptor(self._context, self._secret)
        self._encoder = seal.CKKSEncoder(self._context)

    def secret_bytes(self) -> bytes:
        """The secret key, to be kept."""
        return to_bytes(self._secret)

    def evaluation(self) -> tuple[bytes, ...]:
        """Keys for the server: to relinearize and, if packed, to spread and gather. Seeded."""
        keys = [to_bytes(self._generator.create_relin_keys())]
        if self.course.packed:
            elements = self.course.galois_elements
            keys.append(to_bytes(self._generator.create_galois_keys(elements)))
        return tuple(keys)

    def encrypt_block(self, block: int, records: Array, targets: Array) -> tuple[bytes, ...]:
        """A block of records, a seeded ciphertext for each column and each target.

        Args:
            records: all [N, D], of norm 1 or less.
            targets: all [N, K], of size 1 or less.
        """
        rows = slice(block * SLOTS, (block + 1) * SLOTS)
        levels = self._levels
        columns = [self._encrypt(c, 2.0**INPUT_BITS, levels.full) for c in records[rows].T]
        scale, level = levels.residual_scale, levels.residual
        return (*columns, *(self._encrypt(t, scale, level) for t in targets[rows].T))

    def encrypt_weights(self, weights: Array) -> tuple[bytes, ...]:
        """Weights [K, D], in units of the residual: one number in every slot, or packed."""
        course, scale = self.course, 2.0**self.course.letter_bits
        padded = np.zeros(course.letters * course.leaves)
        padded[: course.numbers] = weights.ravel()
        letters = padded.reshape(course.letters, course.leaves)
        if course.packed:
            spread = np.zeros((course.letters, DEGREE))
            spread[:, :: DEGREE // course.leaves] = letters
            slots = _slots_of(spread)
        else:
            slots = np.repeat(letters, SLOTS, axis=1)
        return tuple(self._encrypt(row, scale, self._levels.full) for row in slots)

    def _encrypt(self, slots: Array, scale: float, parms_id: object) -> bytes:
        plain = seal.Plaintext()
        self._encoder.encode(slots.tolist() or [0.0], parms_id, scale, plain)
        return to_bytes(self._encryptor.encrypt_symmetric(plain))

    def decrypt(self, answer: tuple[bytes, ...], most: float) -> Array:
        """The sum over records of r x [K, D], from a step's answer.

        Args:
            most: that one record can add to a number. Under another key an answer decrypts to
                chance, far above what all records together can.

        Raises:
            CiphertextError: not the ciphertexts of a gradient under this key.
        """
        course, rows = self.course, []
        if len(answer) != course.letters:
            raise CiphertextError(f"{len(answer)} ciphertexts, where {course.letters} belong")
        for part in answer:
            encrypted = from_bytes(seal.Ciphertext(), self._context, part)
            if encrypted.parms_id() != self._levels.answer or encrypted.size() != 2:
                raise CiphertextError("not a gradient of this course")
            encrypted.scale = self._levels.answer_scale
            plain = seal.Plaintext()
            self._decryptor.decrypt(encrypted, plain)
            coefficients = _coefficients_of(np.array(self._encoder.decode_complex(plain)))
            rows.append(coefficients[:: DEGREE // course.leaves] / course.leaves * SLOTS)
        found = np.concatenate(rows)[: course.numbers]
        if not np.abs(found).max() <= SLOTS * course.blocks * most + 1:
            raise CiphertextError("the answer does not decrypt: another key's, or damaged")
        return found.reshape(course.outputs, course.features)


def _slots_of(coefficients: Array) -> NDArray[np.complex128]:
    """Real polynomials [..., N] -> their values at the roots of unity of the slots [..., S]."""
    values = np.fft.ifft(coefficients, 2 * DEGREE) * (2 * DEGREE)
    return values[..., slot_powers()]


def _coefficients_of(slots: NDArray[np.complex128]) -> Array:
    """The inverse of `_slots_of`."""
    values = np.zeros((*slots.shape[:-1], 2 * DEGREE), np.complex128)
    values[..., slot_powers()] = slots
    values[..., 2 * DEGREE - slot_powers()] = slots.conj()
    return np.fft.fft(values)[..., :DEGREE].real / DEGREE
