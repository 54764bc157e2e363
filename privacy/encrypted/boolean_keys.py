"""The SECRET side of boolean FHE: make keys, encrypt, decrypt. No server imports it.

An answer depends on secret noise, if only once in `error_rate` times (eprint 2024/127): decryptions
stay on the client, and only the label is released.
"""

import base64

import numpy as np
from concrete import fhe

from privacy.encrypted.net import Array
from privacy.encrypted.signs import binarize, with_parity
from privacy.encrypted.wire import BooleanOffer
from privacy.errors import CiphertextError


class BooleanKeys:
    """A secret key for one circuit, and what is made with it."""

    def __init__(self, offer: BooleanOffer, secret: bytes | None = None) -> None:
        """Make a new key, or take one from bytes.

        Raises:
            CiphertextError: the bytes are not keys, or the offer's specification is not one.
        """
        self.offer = offer
        try:
            specs = fhe.ClientSpecs.deserialize(base64.b64decode(offer.specs))
            self._client = fhe.Client(specs)
            if secret is None:
                self._client.keys.generate()
            else:
                self._client.keys = fhe.Keys.deserialize(secret)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CiphertextError(f"not keys for this model: {error}") from None

    def evaluation(self) -> tuple[bytes, ...]:
        """Bootstrap and key-switching keys, compressed; no secret is in them."""
        return (self._client.evaluation_keys.serialize(),)

    def encrypt(self, image: Array) -> tuple[bytes, ...]:
        """An image [H, W] in [0, 1] -> its bits and their parity, encrypted and compressed."""
        bits = with_parity(binarize(image[None], self.offer.pool, self.offer.threshold))[0]
        return (self._client.encrypt(bits).serialize(),)

    def decrypt(self, answer: tuple[bytes, ...]) -> Array:
        """Logits [classes], integers, wrong with a chance of `error_rate` at most.

        Raises:
            CiphertextError: the answer does not decrypt under this key.
        """
        if len(answer) != 1:
            raise CiphertextError(f"an answer of {len(answer)} parts, where one belongs")
        try:
            value = fhe.Value.deserialize(answer[0])
            logits = np.array(self._client.decrypt(value), dtype=np.float64)
        except (RuntimeError, ValueError) as error:
            raise CiphertextError(f"the answer does not decrypt: {error}") from None
        if logits.shape != (self.offer.num_classes,):
            raise CiphertextError(f"an answer of shape {logits.shape}")
        return logits

    def secret_bytes(self) -> bytes:
        """All keys, the secret ones included, to be kept."""
        return self._client.keys.serialize()
