"""A multiplier run backwards: its product is clamped, and its factors are read.

Chains are annealed, I0 rising from sweep to sweep, again and again; a chain has solved it as soon
as the numbers on its factors' spins multiply to the product, which is looked at after each sweep.
"""

import math
from dataclasses import dataclass

import numpy as np

from clients.arithmetic.pbits.circuits import multiplier
from clients.arithmetic.pbits.sampling import Chains
from privacy.errors import SettingsError

MOST_BITS = 16  # of a factor
COLD = (0.1, 1.0)  # I0 at the ends of an annealing, of gates whose largest coefficient is 1
PERIOD = 1000  # sweeps of one


@dataclass(frozen=True)
class Factored:
    """What chains came to.

    Attributes:
        factors: of the first chain that solved it; None if none did.
        spins, free: of a chain.
        chains: how many ran; solved: how many of them found factors.
        sweeps: done; first: after how many the first solved it.
        median: sweeps after which half of the chains had; None if fewer did.
        updates: of a spin, in all chains together.
    """

    product: int
    bits: int
    factors: tuple[int, int] | None
    spins: int
    free: int
    chains: int
    solved: int
    sweeps: int
    first: int | None
    median: int | None
    updates: int

    @property
    def guessing(self) -> float:
        """Sweeps until half of the chains would have solved it, were each a guess of two factors:
        what annealing has to beat."""
        ways = 2 if self.factors is None or self.factors[0] != self.factors[1] else 1
        return math.log(0.5) / math.log1p(-ways / 4**self.bits)


def factor(
    product: int, bits: int = 0, *, chains: int = 64, sweeps: int = 20_000, seed: int = 1
) -> Factored:
    """Look for two factors greater than 1.

    Args:
        bits: of each factor; 0 is half of the product's.
        sweeps: after which it gives up; it stops when all chains have solved it.

    Raises:
        SettingsError: the product has more bits than the multiplier's, or is too small.
    """
    if product < 4:
        raise SettingsError(f"{product}: has no two factors greater than 1; give 4 or more")
    bits = bits or max(2, (product.bit_length() + 1) // 2)
    if not 2 <= bits <= MOST_BITS:
        raise SettingsError(f"--bits {bits}: a factor has from 2 to {MOST_BITS} bits here")
    if product.bit_length() > 2 * bits:
        raise SettingsError(
            f"{product}: has {product.bit_length()} bits, and the product of two factors of {bits} "
            f"bits has {2 * bits} at most; give --bits {(product.bit_length() + 1) // 2} or more"
        )
    made = multiplier(bits)
    h, J = made.circuit.matrices()
    clamped = {spin: 1 if product >> k & 1 else -1 for k, spin in enumerate(made.product)}
    walk = Chains(h, J, clamped, chains, seed)
    scale = float(max(np.abs(h).max(), np.abs(J).max()))
    ladder = [walk.chances(I0 / scale * 2) for I0 in np.linspace(*COLD, PERIOD)]
    when = np.zeros(chains, np.int64)
    factors = None
    done = 0
    while done < sweeps and not when.all():
        walk.sweep(ladder[done % PERIOD])
        done += 1
        a, b = walk.read(made.a), walk.read(made.b)
        right = (a * b == product) & (a > 1) & (b > 1)
        if factors is None and right.any():
            at = int(right.argmax())
            factors = (int(min(a[at], b[at])), int(max(a[at], b[at])))
        when[right & (when == 0)] = done
    hits = np.sort(when[when > 0])
    half = (chains + 1) // 2
    return Factored(
        product=product,
        bits=bits,
        factors=factors,
        spins=len(h),
        free=len(walk.order),
        chains=chains,
        solved=len(hits),
        sweeps=done,
        first=int(hits[0]) if len(hits) else None,
        median=int(hits[half - 1]) if len(hits) >= half else None,
        updates=done * chains * len(walk.order),
    )
