"""The door to SEAL: contexts at 128-bit security, and its objects as bytes.

SEAL reads and writes files only, so bytes go through a file that has no name where the system has
such: it lives in memory, and is gone with its process however that ends.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import tenseal.sealapi as seal

from privacy.errors import CiphertextError, ModelError
from privacy.sealed import inflate
from privacy.security import require_modulus

MOST_BYTES = 1 << 28  # of an object whose size is not known better
MOST_KEYS_BYTES = 256 << 20  # of a client's evaluation keys, which a service keeps
SLACK_BYTES = 1024  # for headers within an object


class Native(Protocol):
    """What SEAL can save."""

    def save(self, path: str) -> None:
        """To a file, compressed."""


@contextmanager
def _scratch() -> Iterator[str]:
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:
            yield file.name
        return
    descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def to_bytes(native: Native) -> bytes:
    """What SEAL saves."""
    with _scratch() as path:
        native.save(path)
        return Path(path).read_bytes()


def from_bytes(native: Any, context: Any, content: bytes, most_bytes: int = MOST_BYTES) -> Any:
    """Load what SEAL saved into an empty object of its kind.

    It is inflated here first, so that a small upload cannot become a large one inside SEAL.

    Args:
        most_bytes: what it may be when inflated.

    Raises:
        CiphertextError: it is not of that kind, or does not fit the parameters.
    """
    inflated = inflate(content, most_bytes)
    with _scratch() as path:
        Path(path).write_bytes(inflated)
        try:
            native.load(context, path)
        except (RuntimeError, ValueError, IndexError, MemoryError) as error:
            kind = type(native).__name__
            raise CiphertextError(f"not a {kind} under these parameters: {error}") from None
    return native


def make_context(degree: int, prime_bits: tuple[int, ...], special_bits: int) -> Any:
    """A SEAL context at 128-bit security, by a newer table than SEAL's own.

    Raises:
        ModelError: SEAL refuses the parameters, or they are weaker than that.
    """
    require_modulus(degree, sum(prime_bits) + special_bits)
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(degree)
    try:
        moduli = seal.CoeffModulus.Create(degree, [*prime_bits, special_bits])
        parameters.set_coeff_modulus(moduli)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"CKKS parameters: {error}") from None
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise ModelError(f"CKKS parameters: {context.parameters_error_message()}")
    return context
