"""Encrypted aggregation, the PUBLIC side: a server adds CKKS ciphertexts that it cannot open.

All members share one CKKS key, fresh for each sum, which one of them makes and sends to the others
in boxes (privacy.sums.boxes) that the server passes on. Each encrypts its fixed-point words; the
server adds the ciphertexts; a member decrypts the sum, rounds it to whole grid units and tells it.
The noise of CKKS stays far below half a unit, so the sum is exact, the same to the bit as under
masks, and what is told of the decryption holds nothing of the noise from which the key could be
computed (Li and Micciancio 2021).

Different from masks: any one member with the key, together with the server, can read every update
of the sum; and a server that sends a member one client's ciphertext, multiplied, for the sum gets
that decrypted. So here the server must be honest but curious, and no member may collude with it.
Nothing is lost with members: whoever is left has the key.

No level is used up by adding, so there is one prime of 60 bits, at 128-bit security in ring degree
4096. Slot 0 of each ciphertext counts the members, each other slot holds two words, one in the real
part and one in the imaginary.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import tenseal.sealapi as seal

from privacy.errors import CiphertextError
from privacy.seal import SLACK_BYTES, from_bytes, make_context, to_bytes

DEGREE = 4096
PRIME_BITS = 60
SCALE = 2.0**26  # of a grid unit; the sum of all stays below 2^31 units
WORDS_EACH = DEGREE - 2  # in one ciphertext
MOST_BYTES = 2 * 8 * DEGREE + SLACK_BYTES


@lru_cache(maxsize=1)
def sum_context() -> Any:
    """The one context of all sums."""
    return make_context(DEGREE, (), PRIME_BITS)


def num_ciphertexts(num_words: int) -> int:
    """For so many words."""
    return -(-num_words // WORDS_EACH)


def load_ciphertext(part: bytes) -> Any:
    """A fresh ciphertext of a sum.

    Raises:
        CiphertextError: it is not one under these parameters.
    """
    loaded = from_bytes(seal.Ciphertext(), sum_context(), part, MOST_BYTES)
    first = sum_context().first_parms_id()
    if loaded.size() != 2 or loaded.parms_id() != first or loaded.scale != SCALE:
        raise CiphertextError("not a ciphertext of a sum")
    if loaded.is_transparent():
        raise CiphertextError("a ciphertext that hides nothing")
    return loaded


class EncryptedSum:
    """Ciphertexts, added as they come.

    Args:
        num_words: of an update, its trailer included.
    """

    def __init__(self, num_words: int) -> None:
        self._evaluator = seal.Evaluator(sum_context())
        self._expected = num_ciphertexts(num_words)
        self._total: list[Any] = []

    def add(self, parts: Sequence[bytes]) -> None:
        """Add one member's ciphertexts: all or none.

        Raises:
            CiphertextError: they are not as many as there should be, or one is damaged.
        """
        if len(parts) != self._expected:
            raise CiphertextError(f"{len(parts)} ciphertexts, where {self._expected} belong")
        loaded = [load_ciphertext(part) for part in parts]
        if not self._total:
            self._total = loaded
            return
        for total, one in zip(self._total, loaded, strict=True):
            self._evaluator.add_inplace(total, one)

    def parts(self) -> list[bytes]:
        """The encrypted sum."""
        return [to_bytes(total) for total in self._total]
