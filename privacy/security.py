"""How hard the lattices are that encryption rests on: a table, a curve and an estimate of our own.

Two bounds decide. For rings with ternary secrets, the largest modulus at 128 bits against classical
attacks: Bossuat et al. 2024, "Security Guidelines for Implementing Homomorphic Encryption"
(eprint 2024/463), table for uniform ternary secrets and errors of deviation 3.19. It allows less
than the 2018 standard does, which SEAL enforces (106 bits where that has 109, in degree 4096). For
TFHE, whose secrets are bits, the smallest error for a dimension: the line through the lattice
estimator's results that Zama publishes (zama-ai/concrete, security curves, 128 bits).

Beside them stands `estimate_bits`, a lattice estimate in a few lines, so that neither a slip in a
table nor one in a parameter goes unseen.
"""

import math

from privacy.errors import ModelError

SECURITY_BITS = 128
MOST_MODULUS_BITS = {  # ring degree -> log2 of the modulus, the key-switching prime included
    1024: 26,
    2048: 53,
    4096: 106,
    8192: 214,
    16384: 430,
    32768: 868,
}
ERROR_DEVIATION = 3.19  # of a coefficient of SEAL's
TERNARY_DEVIATION = math.sqrt(2 / 3)  # of a secret coefficient in {-1, 0, 1}
BIT_DEVIATION = 0.5  # of a secret coefficient in {0, 1}
TFHE_SLOPE, TFHE_OFFSET, TFHE_LEAST_DIMENSION = -0.026405028765226296, 2.482642269104389, 450
TFHE_WORD_BITS = 64
TFHE_LEAST_ERROR_BITS = 2  # log2 of an error's deviation in units of the last place


def require_modulus(degree: int, modulus_bits: int) -> None:
    """Refuse a ring whose modulus is too large for 128 bits of security.

    Raises:
        ModelError: it is.
    """
    if degree not in MOST_MODULUS_BITS:
        degrees = ", ".join(map(str, MOST_MODULUS_BITS))
        raise ModelError(f"CKKS parameters: a ring of degree {degree}; there are {degrees}")
    if modulus_bits > (most := MOST_MODULUS_BITS[degree]):
        raise ModelError(
            f"CKKS parameters: a modulus of {modulus_bits} bits in a ring of degree {degree}; at "
            f"{SECURITY_BITS}-bit security {most} are the most (Bossuat et al. 2024)"
        )


def least_tfhe_deviation(dimension: int) -> float:
    """The smallest deviation of an error on the torus [0, 1) at 128 bits, for so many secret bits.

    Raises:
        ModelError: the dimension is below all that the curve was fitted to.
    """
    if dimension < TFHE_LEAST_DIMENSION:
        raise ModelError(
            f"TFHE parameters: dimension {dimension}; {TFHE_LEAST_DIMENSION} is the least"
        )
    line = TFHE_SLOPE * dimension + TFHE_OFFSET
    return 2.0 ** max(line, TFHE_LEAST_ERROR_BITS - TFHE_WORD_BITS)


def estimate_bits(
    dimension: int, modulus_bits: float, error_deviation: float, secret_deviation: float
) -> float:
    """log2 of the operations of the primal attack on learning with errors.

    The unique shortest vector of Bai and Galbraith's lattice shows to BKZ of block size b as soon
    as s sqrt(b) <= delta(b)^(2 b - d - 1) Vol^(1/d) (Alkim et al. 2016, section 6.3). A call of
    its oracle costs 2^(0.292 b + 16.4), the sieve of Becker et al. 2016, and there are 8 d. The
    attacker takes as many samples m, up to the dimension, as serve best. Dual and hybrid attacks
    gain a few bits over this: the tables above reckon with them.

    Args:
        dimension: of the secret, n.
        modulus_bits: log2 q.
        error_deviation, secret_deviation: of one coefficient, in the units of q.
    """
    best = math.inf
    for samples in range(max(1, dimension // 4), dimension + 1, max(1, dimension // 64)):
        d = dimension + samples + 1
        log_volume = samples * modulus_bits + dimension * math.log2(
            error_deviation / secret_deviation
        )
        low, high = 40, d
        while low < high:  # the smallest block that suffices
            block = (low + high) // 2
            reached = (2 * block - d - 1) * _log2_delta(block) + log_volume / d
            if math.log2(error_deviation) + math.log2(block) / 2 <= reached:
                high = block
            else:
                low = block + 1
        best = min(best, 0.292 * low + 16.4 + math.log2(8 * d))
    return best


def _log2_delta(block: int) -> float:
    """log2 of the root Hermite factor that BKZ reaches (Chen 2013)."""
    return math.log2(block / (2 * math.pi * math.e) * (math.pi * block) ** (1 / block)) / (
        2 * (block - 1)
    )
