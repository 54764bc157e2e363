"""Zeros that a chip need not multiply, nor store.

Skipping (survey: Cnvlutin skips zero activations, Cambricon-X zero weights, ZASCA zero
activations): an element does only the products without zeros. Elements of a group wait for the
slowest, so a group of g with r products each takes the expected greatest of g binomials, by the
normal approximation r d + sqrt(2 r d (1 - d) ln g). Zeros are taken as independent; real ones come
in clusters, which costs more. Gating spends the cycle and saves the multiplier's energy.
"""

from math import log, sqrt

from clients.chip.hardware import Array
from clients.chip.workloads.workload import Workload

RUN_BITS, LEVELS_PER_WORD, WORD = 5, 3, 64  # Eyeriss's run-length code, JSSC 2017, section V-A


def density(array: Array, workload: Workload) -> float:
    """The fraction of products that a chip carries out."""
    kept = 1.0
    if array.skips in ("activations", "both"):
        kept *= 1 - workload.activation_zeros
    if array.skips in ("weights", "both"):
        kept *= 1 - workload.weight_zeros
    return kept


def cycles_of(products: int, kept: float, group: int) -> float:
    """Cycles in which a group of elements has each done its share of `products`."""
    if kept == 1.0:
        return products
    spread = sqrt(2 * products * kept * (1 - kept) * log(group)) if group > 1 else 0.0
    return min(float(products), products * kept + spread)


def packed(array: Array, workload: Workload, bits: int) -> float:
    """Bits of a run-length coded activation, over those of a plain one; never more than plain."""
    if not array.compresses:
        return 1.0
    coded = WORD / LEVELS_PER_WORD * max(bits, 1) / 16
    return min(1.0, (1 - workload.activation_zeros) * coded / bits)
