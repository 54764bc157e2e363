"""Encrypted aggregation, the SECRET side: who has the key of a sum.

See privacy.sums.encrypted_sum.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tenseal.sealapi as seal
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from privacy.errors import CiphertextError, SecureSumFailed
from privacy.seal import SLACK_BYTES, from_bytes, to_bytes
from privacy.sums.boxes import KEY_BYTES, exchange, open_box, public_of, seal_box
from privacy.sums.encrypted_sum import (
    DEGREE,
    SCALE,
    WORDS_EACH,
    load_ciphertext,
    num_ciphertexts,
    sum_context,
)
from privacy.sums.fixed_point import TRAILER, Words
from privacy.sums.terms import Terms

UNSURE = 0.25  # grid units from a whole one: another key's, or a sum of too many


@dataclass
class KeyHolder:
    """One client in one encrypted sum. Between phases it is kept as `fields`.

    Attributes:
        channel: its X25519 key.
        key: the sum's CKKS secret key, when it has it.
    """

    terms: Terms
    me: int
    channel: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    key: bytes = field(default=b"", repr=False)

    def advertise(self) -> bytes:
        """Phase 1: the public half of its channel key.

        Raises:
            SecureSumFailed: under these terms its update could be read.
        """
        self.terms.require_safe(self.me)
        return public_of(self.channel)

    def deal(self, publics: Mapping[int, bytes]) -> dict[int, bytes]:
        """Phase 2, by one member: make the key, and seal it for every other.

        Raises:
            SecureSumFailed: for strangers, or a second time.
        """
        if self.key or not set(publics) <= set(self.terms.members):
            raise SecureSumFailed("asked to deal a key again, or to strangers")
        self.key = to_bytes(seal.KeyGenerator(sum_context()).secret_key())
        channel = X25519PrivateKey.from_private_bytes(self.channel)
        return {
            holder: seal_box(self.terms, exchange(channel, public), self.me, holder, self.key)
            for holder, public in publics.items()
            if holder != self.me
        }

    def receive(self, dealer: int, public: bytes, box: bytes) -> None:
        """Take the key that `dealer` made.

        Raises:
            SecureSumFailed: the box was altered, replayed or meant for another.
        """
        if dealer not in self.terms.members or dealer == self.me:
            raise SecureSumFailed(f"client {dealer} may deal no key here")
        agreed = exchange(X25519PrivateKey.from_private_bytes(self.channel), public)
        self.key = open_box(self.terms, agreed, dealer, self.me, box)

    def conceal(self, words: Words) -> list[bytes]:
        """Phase 3: words [D + 2] of 32 bits, encrypted.

        Raises:
            SecureSumFailed: it has no key yet.
        """
        encryptor = seal.Encryptor(sum_context(), self._secret())
        encoder = seal.CKKSEncoder(sum_context())
        padded = np.zeros(num_ciphertexts(len(words)) * WORDS_EACH)
        padded[: len(words)] = words.view(np.int32)
        parts = []
        for piece in padded.reshape(-1, WORDS_EACH):
            slots = np.append(1, piece[::2] + 1j * piece[1::2])
            plain = seal.Plaintext()
            encoder.encode(slots.tolist(), SCALE, plain)
            parts.append(to_bytes(encryptor.encrypt_symmetric(plain)))
        return parts

    def reveal(self, parts: Sequence[bytes], survivors: int) -> Words:
        """Phase 4: the sum of words [D + 2], modulo 2^32.

        Args:
            survivors: how many the server says are in it.

        Raises:
            SecureSumFailed: it is a sum of too few, or not a sum under this key.
        """
        if survivors < self.terms.survivors:
            raise SecureSumFailed(f"{survivors} survivors, {self.terms.survivors} are needed")
        size = self.terms.length + TRAILER
        if len(parts) != num_ciphertexts(size):
            raise SecureSumFailed(f"a sum of {len(parts)} ciphertexts")
        decryptor = seal.Decryptor(sum_context(), self._secret())
        encoder = seal.CKKSEncoder(sum_context())
        pieces = []
        for part in parts:
            plain = seal.Plaintext()
            try:
                decryptor.decrypt(load_ciphertext(part), plain)
            except CiphertextError as error:
                raise SecureSumFailed(f"not an encrypted sum: {error}") from None
            slots = np.array(encoder.decode_complex(plain))
            numbers = np.stack([slots.real, slots.imag], 1).reshape(-1)
            whole = np.rint(numbers)
            if np.abs(numbers - whole).max() > UNSURE or (whole[0], whole[1]) != (survivors, 0):
                raise SecureSumFailed(
                    f"what should be a sum of {survivors} updates does not decrypt to one"
                )
            pieces.append(whole[2:])
        return np.concatenate(pieces)[:size].astype(np.int64).astype(np.uint32)

    def fields(self) -> dict[str, bytes | int | str]:
        """What must be known in the next phase."""
        return {
            "terms": self.terms.model_dump_json(),
            "me": self.me,
            "channel": self.channel,
            "key": self.key,
        }

    @classmethod
    def of_fields(cls, kept: Mapping) -> "KeyHolder":
        """The inverse of `fields`."""
        terms = Terms.from_json(str(kept["terms"]))
        return cls(terms, int(kept["me"]), kept["channel"], kept["key"])

    def _secret(self) -> object:
        if not self.key:
            raise SecureSumFailed("the key of this sum was never received")
        try:
            return from_bytes(seal.SecretKey(), sum_context(), self.key, 8 * DEGREE + SLACK_BYTES)
        except CiphertextError as error:
            raise SecureSumFailed(f"the key dealt is none: {error}") from None
