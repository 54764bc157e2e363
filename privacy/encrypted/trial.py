"""PUBLIC: what a service holds foreign keys against before it keeps them.

How large they are is known from the model, and so is the form of what Concrete writes: a message of
Cap'n Proto whose table of segments and first segment, which describes the keys, are the same for
every client of one circuit. Keys of another form are refused before Concrete's parser, which dies
of some, sees them. Then they are tried, on a question that nobody asked.
"""

import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privacy.encrypted import batch
from privacy.encrypted.ckks import galois_elements
from privacy.encrypted.plan import Plan
from privacy.encrypted.ring.engine import Engine
from privacy.encrypted.ring.foreign import COUNT, HEAD
from privacy.encrypted.wire import CHECKSUM_BYTES, HEADER
from privacy.errors import CiphertextError
from privacy.seal import SLACK_BYTES, to_bytes
from privacy.sealed import ENVELOPE, plain_envelope


@dataclass(frozen=True)
class Form:
    """What all messages of one kind have in common.

    Attributes:
        start: how they begin.
        size_bytes: of each.
    """

    start: bytes
    size_bytes: int

    @classmethod
    def of_keys(cls, message: bytes) -> "Form":
        """The form of keys that Concrete wrote: all but the keys' own words."""
        described = 8 * int.from_bytes(message[4:8], "little")
        return cls(message[: _table_bytes(message) + described], len(message))

    @classmethod
    def of_ciphertext(cls, message: bytes) -> "Form":
        """Of a ciphertext, whose words may stand in the first segment."""
        return cls(message[: _table_bytes(message)], len(message))

    def require(self, message: bytes, what: str) -> None:
        """Refuse a message of another form.

        Raises:
            CiphertextError: it is.
        """
        if len(message) != self.size_bytes or not message.startswith(self.start):
            raise CiphertextError(f"not {what} of this model's circuit")


def _table_bytes(message: bytes) -> int:
    segments = int.from_bytes(message[:4], "little") + 1
    return 8 * (1 + segments // 2)


def circuit_files(circuit: Any, record: Any) -> dict[str, bytes]:
    """Files by which a service of a circuit tries keys.

    Args:
        circuit: compiled, with keys of its own that nobody else uses.
        record: bits [I].
    """
    keys = circuit.client.evaluation_keys.serialize()
    return {
        "trial.bin": circuit.encrypt(record).serialize(),
        "keys_form.bin": struct.pack("<Q", len(keys)) + Form.of_keys(keys).start,
    }


def read_circuit_files(folder: Path) -> tuple[Form, Form, bytes]:
    """The forms of keys and of an image, and a question, from `circuit_files`."""
    question, form = ((folder / name).read_bytes() for name in ("trial.bin", "keys_form.bin"))
    keys = Form(form[8:], int.from_bytes(form[:8], "little"))
    return keys, Form.of_ciphertext(question), question


def random_question(program: Engine) -> bytes:
    """Random words in the form of an image's ciphertext: what any encryption looks like."""
    recipe, context = program.plan.recipe, program.context
    data = context.first_context_data()
    primes = [modulus.value() for modulus in data.parms().coeff_modulus()]
    rng = np.random.default_rng(secrets.randbits(128))
    words = [rng.integers(0, prime, recipe.degree, np.uint64) for _ in range(2) for prime in primes]
    minor = to_bytes(data.parms())[4]  # of SEAL's version
    parms_id = struct.pack("<4Q", *context.first_parms_id())
    shape = (1, 2, recipe.degree, len(primes), 2.0**recipe.input_bits, 1)
    content = np.concatenate(words).tobytes()
    array = plain_envelope(COUNT.pack(len(content) // 8) + content, minor)
    return plain_envelope(HEAD.pack(parms_id, *shape) + array, minor)


def frame_bytes(*part_bytes: int) -> int:
    """The size of a frame with such parts."""
    return HEADER.size + 8 * len(part_bytes) + sum(part_bytes) + CHECKSUM_BYTES


def largest_keys(plan: Plan) -> tuple[int, int]:
    """The most bytes of Galois keys and of relinearization keys, as a client writes them.

    A key is a pair of polynomials for each prime of the data, modulo every prime; one of the two is
    random, and written as the seed that it comes from.
    """
    recipe = plan.recipe
    primes = len(recipe.prime_bits)
    key = primes * ((primes + 1) * 8 * recipe.degree + SLACK_BYTES)
    elements = galois_elements(plan.rotations, recipe.degree)
    table = 8 * recipe.degree  # how many keys there are for each element
    return len(elements) * key + table + SLACK_BYTES, key + SLACK_BYTES


def largest_image(plan: Plan) -> int:
    """The most bytes of an image's ciphertext."""
    recipe = plan.recipe
    return 2 * len(recipe.prime_bits) * 8 * recipe.degree + SLACK_BYTES + ENVELOPE.size


def largest_batch_part() -> int:
    """The most bytes of a pixel's ciphertext in a batch, if it is not seeded."""
    return 2 * len(batch.PRIME_BITS) * 8 * batch.DEGREE + SLACK_BYTES + ENVELOPE.size
