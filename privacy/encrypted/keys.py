"""The SECRET side of CKKS: make keys, encrypt, decrypt. No server imports it: see the contract.

What is uploaded is encrypted under the secret key itself, so that half of it is a seed. A CKKS
decryption still holds the noise, from which, with the ciphertext, the secret key follows (Li and
Micciancio 2021); SEAL has no mitigation. So a decryption stays on the client: what is released is
the label, or logits with noise flooded over them.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tenseal.sealapi as seal

from privacy.encrypted.ckks import galois_elements, require_keys
from privacy.encrypted.layout import power_of_two
from privacy.encrypted.net import Array, pool_images
from privacy.encrypted.plan import pack
from privacy.encrypted.wire import BatchOffer, BooleanOffer, Offer
from privacy.errors import CiphertextError, KeysError, ModelError
from privacy.files import write_atomically
from privacy.foreign import MOST_ARRAYS_BYTES, read_foreign
from privacy.seal import from_bytes, make_context, to_bytes

if TYPE_CHECKING:
    from privacy.encrypted.boolean_keys import BooleanKeys

UNLIKE = 0.4  # copies of logits that are this far apart, of their size, were not made for this key
LARGEST = 1e3  # logits come in units of the largest of the calibration
NOISE = 2.0**-6  # in the same units, what encryption leaves in a logit


class CkksKeys:
    """A secret key for one model's parameters, and what is made with it."""

    def __init__(self, offer: Offer, secret: bytes | None = None) -> None:
        """Make a new key, or take one from bytes.

        Raises:
            ModelError: the service asks for parameters below 128-bit security.
            CiphertextError: the bytes are not a secret key under these parameters.
        """
        self.offer = offer
        self._context = make_context(offer.degree, offer.prime_bits, offer.special_bits)
        if secret is None:
            self._generator = seal.KeyGenerator(self._context)
            self._secret = self._generator.secret_key()
        else:
            self._secret = from_bytes(seal.SecretKey(), self._context, secret)
            self._generator = seal.KeyGenerator(self._context, self._secret)
        self._encryptor = seal.Encryptor(self._context, self._secret)
        self._decryptor = seal.Decryptor(self._context, self._secret)
        self._encoder = seal.CKKSEncoder(self._context)
        self._pixels = np.array(offer.pixels)

    def evaluation(self) -> tuple[bytes, ...]:
        """Galois keys, seeded, for the model's rotations alone; and relinearization keys.

        Raises:
            ModelError: they would be larger than a service takes.
        """
        require_keys(self._context, len(self.offer.rotations))
        elements = galois_elements(list(self.offer.rotations), self.offer.degree)
        galois = to_bytes(self._generator.create_galois_keys(elements))
        return galois, to_bytes(self._generator.create_relin_keys())

    def encrypt(self, image: Array) -> tuple[bytes, ...]:
        """An image [H, W] in [0, 1] -> one seeded ciphertext, packed as the model wants it."""
        slots = pack(image[None], self.offer.pool, self._pixels)[0]
        return (self.encrypt_slots(slots),)

    def encrypt_slots(self, slots: Array) -> bytes:
        """Complex numbers [S] -> a seeded ciphertext."""
        plain = seal.Plaintext()
        self._encoder.encode(slots.tolist(), 2.0**self.offer.input_bits, plain)
        return to_bytes(self._encryptor.encrypt_symmetric(plain))

    def decrypt_slots(self, answer: bytes) -> Array:
        """A ciphertext -> numbers [S].

        Raises:
            CiphertextError: the answer is not a ciphertext under these parameters.
        """
        encrypted = from_bytes(seal.Ciphertext(), self._context, answer)
        plain = seal.Plaintext()
        self._decryptor.decrypt(encrypted, plain)
        return np.array(self._encoder.decode_double(plain))

    def decrypt(self, answer: tuple[bytes, ...]) -> Array:
        """Logits [classes] from an answer: not to be shown, see `flood`.

        Every slot of an answer is a whole logit or zero, so the copies must agree: that tells an
        answer under another key, which decrypts to chance, from ours.

        Raises:
            CiphertextError: the answer does not decrypt under this key.
        """
        if len(answer) != 1:
            raise CiphertextError(f"an answer of {len(answer)} ciphertexts, where one belongs")
        slots = self.decrypt_slots(answer[0])
        copies = slots.reshape(-1, power_of_two(self.offer.num_classes))
        logits = copies.mean(axis=0)
        # Root mean squares: of thousands of copies, one may be far off by noise alone.
        apart, size = (float(np.sqrt((x**2).mean())) for x in (copies - logits, copies))
        if not size < LARGEST or apart > UNLIKE * max(size, 1.0):
            raise CiphertextError("the answer does not decrypt: another key's, or damaged")
        return logits[: self.offer.num_classes] * self.offer.logit_divisor

    def encrypt_batch(self, images: Array) -> tuple[bytes, ...]:
        """Images [B, H, W] in [0, 1] -> a seeded ciphertext a pixel, with an image in each slot."""
        batch = self._batch
        pooled = pool_images(images, self.offer.pool).reshape(len(images), -1)
        parts = []
        for pixel in pooled.T:
            plain = seal.Plaintext()
            batch.encoder.encode(pixel.tolist(), 2.0**batch.offer.input_bits, plain)
            parts.append(to_bytes(batch.encryptor.encrypt_symmetric(plain)))
        return tuple(parts)

    def decrypt_batch(self, answer: tuple[bytes, ...], num: int) -> Array:
        """Logits [B, classes] from an answer to a batch of `num` images.

        Raises:
            CiphertextError: the answer is not a ciphertext a class.
        """
        batch = self._batch
        if len(answer) != self.offer.num_classes:
            raise CiphertextError(f"{len(answer)} ciphertexts for {self.offer.num_classes} classes")
        logits = []
        for part in answer:
            plain = seal.Plaintext()
            batch.decryptor.decrypt(from_bytes(seal.Ciphertext(), batch.context, part), plain)
            logits.append(batch.encoder.decode_double(plain)[:num])
        found = np.array(logits).T
        if not np.abs(found).max() < LARGEST:
            raise CiphertextError("the answer does not decrypt: another key's, or damaged")
        return found * batch.offer.logit_divisor

    @cached_property
    def _batch(self) -> "_BatchKeys":
        if self.offer.batch is None:
            raise ModelError("this service takes no batches; ask image by image")
        return _BatchKeys(self.offer.batch)

    def secret_bytes(self) -> bytes:
        """The secret key, to be kept."""
        return to_bytes(self._secret)


class _BatchKeys:
    """Parameters, and so a secret key, of their own; it lives as long as its batches."""

    def __init__(self, offer: BatchOffer) -> None:
        self.offer = offer
        self.context = make_context(offer.degree, offer.prime_bits, offer.special_bits)
        secret = seal.KeyGenerator(self.context).secret_key()
        self.encryptor = seal.Encryptor(self.context, secret)
        self.decryptor = seal.Decryptor(self.context, secret)
        self.encoder = seal.CKKSEncoder(self.context)


def make_keys(offer: Offer | BooleanOffer, secret: bytes | None = None) -> "CkksKeys | BooleanKeys":
    """New keys for what is offered, or those whose secret is given.

    Raises:
        ModelError: the service asks for parameters below 128-bit security.
        CiphertextError: the bytes are not a secret key under these parameters.
    """
    if isinstance(offer, Offer):
        return CkksKeys(offer, secret)
    from privacy.encrypted.boolean_keys import BooleanKeys  # Concrete takes a second to import

    return BooleanKeys(offer, secret)


def flood(logits: Array, offer: Offer | BooleanOffer, bits: int) -> Array:
    """Logits with Gaussian noise of 2^bits times what encryption left in them.

    By the divergence of two Gaussians, the ciphertext's noise shows by about 2^(-2 bits) an answer:
    enough against one reader of a few answers, no proof against one of thousands.
    """
    divisor = offer.logit_divisor if isinstance(offer, Offer) else 1.0
    noise = NOISE * 2.0**bits * divisor
    return logits + np.random.default_rng().normal(0, noise, logits.shape)


def save_secret(path: Path, secret: bytes) -> None:
    """Write a secret key that only its user may read."""
    before = os.umask(0o077)
    try:
        with write_atomically(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secret)
    finally:
        os.umask(before)


def load_secret(path: Path) -> bytes:
    """Read a secret key.

    Raises:
        KeysError: not there, or others may read it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise KeysError(f"{path}: others may read this secret key; run: chmod 600 {path}")
        return read_foreign(path, MOST_ARRAYS_BYTES)
    except OSError as error:
        raise KeysError(f"{path}: cannot be read: {error.strerror or error}") from None
