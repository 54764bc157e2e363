"""Rings, moduli and scales for a depth, at 128-bit security: tuned on public data, see `security`.

The bits of the modulus are all there is to spend. A scale too small drowns in noise: an input's in
that of its encryption, weights' in their rounding, and what is rotated at a small scale in that of
the rotation, unless the special prime is larger than the others. Primes of at most 50 bits are for
`privacy.encrypted.ring`, several times as fast as SEAL, which takes the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from privacy.errors import ModelError
from privacy.security import MOST_MODULUS_BITS

LARGEST_DEGREE = 32768


@dataclass(frozen=True)
class Recipe:
    """A ring and a modulus, and how the scale is split: tuned on public data.

    Attributes:
        degree: of the ring, twice the number of slots.
        prime_bits: of the moduli that data live under, the first to be dropped last.
        special_bits: of the modulus that only keys use.
        input_bits, weight_bits: log2 of the scales at which pixels and each layer are encoded.
        rescale: after which steps a prime is dropped: `product` l or `square` l.
    """

    degree: int
    prime_bits: tuple[int, ...]
    special_bits: int
    input_bits: float
    weight_bits: tuple[float, ...]
    rescale: frozenset[tuple[str, int]]

    @property
    def modulus_bits(self) -> int:
        """Of all primes, on which security depends."""
        return sum(self.prime_bits) + self.special_bits


def recipes(num_squares: int) -> Iterator[Recipe]:
    """Recipes for a depth, the fastest first. One and two squares: few large primes, late drops."""
    if num_squares == 0:
        yield Recipe(4096, (35, 35), 36, 22, (22,), frozenset())
    if num_squares == 1:
        yield Recipe(4096, (36, 37), 33, 15, (15, 11.4), frozenset({("square", 0)}))
        yield Recipe(8192, (50, 48), 50, 20, (20, 16.4), frozenset({("square", 0)}))
        yield Recipe(8192, (60, 60), 60, 24, (24, 20), frozenset({("square", 0)}))
    if num_squares == 2:
        late = frozenset({("square", 0), ("square", 1), ("product", 2)})
        yield Recipe(8192, (43,) * 4, 42, 20.5, (18.5, 18.5, 20), late)
    levels = 2 * num_squares + 1
    always = frozenset(
        [("product", i) for i in range(num_squares + 1)]
        + [("square", i) for i in range(num_squares)]
    )
    for degree in (8192, 16384, 32768):
        if 120 + 40 * levels <= MOST_MODULUS_BITS[degree]:  # nothing deeper has been tried
            yield Recipe(degree, (50, *[40] * levels), 50, 40, (40,) * (num_squares + 1), always)


def require_depth(squares: int) -> list[Recipe]:
    """The recipes for a net with so many squares, the fastest first.

    Raises:
        ModelError: there is none; the error says what depth it needs, and what fits.
    """
    if found := list(recipes(squares)):
        return found
    most = max(n for n in range(32) if list(recipes(n)))
    raise ModelError(
        f"a net with {squares} activations needs a depth of {2 * squares + 1} products; a ring of "
        f"degree {LARGEST_DEGREE} at 128-bit security has {2 * most + 1}: at most {most} "
        "activations fit"
    )
