"""A plan's weights as SEAL encodes them, step by step at the scales that ciphertexts have there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tenseal.sealapi as seal

from privacy.encrypted.net import Array
from privacy.encrypted.plan import Plan


@dataclass(frozen=True, eq=False)
class Encoded:
    """A plaintext of a layer.

    Attributes:
        step: the number of the plan's step.
        giant, baby: of a diagonal, what it meets and how that is turned then; of a bias zero.
    """

    step: int
    giant: int
    baby: int
    plaintext: Any


def encodings(plan: Plan, context: Any) -> Iterator[Encoded]:
    """Every diagonal that does not encode to zero, and every bias.

    A diagonal is turned back by its giant step, which comes after it. One that encodes to zero is
    left out: its product would be a transparent ciphertext, which SEAL refuses to make.
    """
    encoder = seal.CKKSEncoder(context)

    def encode(values: Array) -> Any:
        plaintext = seal.Plaintext()
        encoder.encode(values.tolist(), data.parms_id(), at, plaintext)
        return plaintext

    data, scale = context.first_context_data(), 2.0**plan.recipe.input_bits
    for number, step in enumerate(plan.steps):
        product = plan.products[step.layer]
        if step.name == "product":
            at = 2.0 ** plan.recipe.weight_bits[step.layer]
            scale *= at
            half = 0.5 if step.layer == 0 else 1.0  # for the real part is taken as x + conj(x)
            for place, diagonal in enumerate(product.diagonals):
                giant, baby = divmod(place, product.babies)
                turned = np.roll(diagonal, product.unit * product.babies * giant)
                plaintext = encode(turned * half)
                if not plaintext.is_zero():
                    yield Encoded(number, giant, baby, plaintext)
        elif step.name == "bias":
            at = scale
            yield Encoded(number, 0, 0, encode(product.bias))
        elif step.name == "square":
            scale *= scale
        elif step.name == "rescale":
            scale /= data.parms().coeff_modulus()[-1].value()
            data = data.next_context_data()
