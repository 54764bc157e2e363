"""Chains of p-bits: m_i = sign(rnd + tanh(I0 (h_i + sum_j J_ij m_j))), one spin after another.

rnd is uniform in (-1, 1), so a spin is 1 with probability 1 / (1 + exp(-2 I0 field)). That is heat
bath (Gibbs) sampling of Boltzmann's law at inverse temperature I0, P(m) ~ exp(-I0 E(m)); a chain of
finite length comes near it, and at a large I0 may stay in one valley: `anneal` raises I0 slowly.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clients.arithmetic.pbits import kernels
from clients.arithmetic.pbits.circuits import colours
from clients.arithmetic.pbits.gates import energies
from clients.draws import row_seeds
from privacy.errors import ModelError

WORDS = 1 << 32


class Chains:
    """Some chains of the same spins.

    Args:
        h: integer fields [N]; J: integer couplings [N, N], symmetric.
        clamped: spins that are held, by number, at -1 or 1.
        num: chains.
        seed: from which everything follows.

    Attributes:
        m: spins int8 [N, R].

    Raises:
        ModelError: a coefficient is no whole number, or couplings are of no energy.
    """

    def __init__(
        self, h: NDArray, J: NDArray, clamped: Mapping[int, int], num: int, seed: int
    ) -> None:
        if not (np.array_equal(h, np.rint(h)) and np.array_equal(J, np.rint(J))):
            raise ModelError("fields and couplings of p-bits are whole numbers; scale them, and I0")
        if not np.array_equal(J, J.T) or J.diagonal().any():
            raise ModelError("couplings of p-bits are symmetric, and none is of a spin with itself")
        self.order = np.array([i for c in colours(J) for i in c if i not in clamped], np.int64)
        self.degree = (J != 0).sum(1).astype(np.int64)
        most = max(1, int(self.degree.max()))
        self.near, self.weight = np.zeros((len(h), most), np.int64), np.zeros((len(h), most), "i4")
        for i in range(len(h)):
            near = np.flatnonzero(J[i])
            self.near[i, : len(near)], self.weight[i, : len(near)] = near, J[i, near]
        self.h = h.astype(np.int32)
        self.largest = int((np.abs(h) + np.abs(J).sum(1)).max())
        drawn = row_seeds(np.uint64(seed), np.arange(num, dtype=np.int64))
        self.words = (drawn >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
        bits = np.random.default_rng(seed).integers(0, 2, (len(h), num))
        self.m = (2 * bits - 1).astype(np.int8)
        for i, value in clamped.items():
            self.m[i] = value

    def chances(self, I0: float) -> NDArray[np.uint32]:
        """Of each field, that a spin becomes 1, in words."""
        fields = np.arange(-self.largest, self.largest + 1)
        return np.minimum(chance(I0, fields) * WORDS, WORDS - 1).astype(np.uint32)

    def sweep(self, chances: NDArray[np.uint32]) -> None:
        """Flip each free spin of each chain once."""
        kernels.sweep(
            self.m, self.order, self.h, self.degree, self.near, self.weight, chances, self.words
        )

    def read(self, spins: list[int]) -> NDArray[np.int64]:
        """The numbers that some spins stand for, lowest bit first: [R]."""
        out = np.empty(self.m.shape[1], np.int64)
        kernels.read(self.m, np.array(spins), out)
        return out


def chance(I0: float, field: NDArray) -> NDArray[np.float64]:
    """That a spin becomes 1 in a field: (1 + tanh(I0 field)) / 2, which saturates."""
    return np.asarray(1 / (1 + np.exp(np.minimum(-2.0 * I0 * field, 700.0))))


def boltzmann(h: NDArray, J: NDArray, I0: float) -> NDArray[np.float64]:
    """The probability of each state of few spins [2^N], by enumeration."""
    return np.exp(log_boltzmann(h, J, I0))


def log_boltzmann(h: NDArray, J: NDArray, I0: float) -> NDArray[np.float64]:
    """Its logarithm, which float64 holds of a cold machine's rarest states too."""
    weight = -I0 * energies(h, J)
    return np.asarray(weight - np.logaddexp.reduce(weight))


def visited(
    h: NDArray, J: NDArray, I0: float, *, chains: int, sweeps: int, burn: int, seed: int
) -> NDArray[np.float64]:
    """The share of its time that chains spend in each state [2^N]."""
    walk = Chains(h, J, {}, chains, seed)
    chances, counts = walk.chances(I0), np.zeros(1 << len(h), np.int64)
    spins = list(range(len(h)))[::-1]
    for t in range(burn + sweeps):
        walk.sweep(chances)
        if t >= burn:
            counts += np.bincount(walk.read(spins), minlength=len(counts))
    return np.asarray(counts / counts.sum())
