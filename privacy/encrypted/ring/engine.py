"""Who computes a plan: this room, where primes and machine are such that it is exact, else SEAL."""

from typing import Any, Protocol

from privacy.encrypted.ckks import Program
from privacy.encrypted.plan import Plan
from privacy.encrypted.ring.program import RingProgram, fits


class Engine(Protocol):
    """A plan with its weights, ready to run on a client's ciphertexts."""

    plan: Plan
    context: Any

    def load_keys(self, parts: tuple[bytes, ...]) -> Any:
        """Evaluation keys from bytes: Galois keys, relinearization keys."""

    def run(self, parts: tuple[bytes, ...], keys: Any) -> tuple[bytes, ...]:
        """From an encrypted image, one ciphertext, to encrypted logits."""


def engine(plan: Plan) -> Engine:
    """The faster one of those that can.

    Raises:
        ModelError: SEAL refuses the parameters.
    """
    return RingProgram(plan) if fits(plan.recipe) else Program(plan)
