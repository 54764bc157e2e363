"""A state of spins, such as binary weights, that is read from a machine made of records: what that
reading promises each of them.

The energy is a sum of records' terms, E(m) = sum_r (-sum_i h_ri m_i - sum_{i<j} J_rij m_i m_j),
each scaled until sum_i |h_ri| + sum_{i<j} |J_rij| <= clip, so that no record, there or not, changes
the energy of any state by more than the clip.

exact    a state drawn by Boltzmann's law is an exponential mechanism (McSherry and Talwar,
         "Mechanism design via differential privacy", FOCS 2007): pure epsilon = 2 I0 clip, as Z
         changes, too.
chain    one that has run for some sweeps is not there yet, and that it is near is assumed, not
         proved. What is proved is composition: from a start and in an order that know no record,
         each flip is 1 with the chance of its field, of whose logarithm a record changes 2 I0 |d_i|
         at most; over a sweep sum_i |d_i| <= clip, or twice it with couplings: two spins feel one.

Proved are laws of ideal random numbers. A flip compares a word of 32 bits, which costs a chain what
`delta_of_chain` says; that words are as good as random is assumed of both.

Shapes: R records, N spins, S states.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clients.arithmetic.pbits.gates import Integers, states
from clients.arithmetic.pbits.sampling import WORDS, Chains, boltzmann

STEPS = 64  # of a clip: terms are whole numbers of its steps, rounded towards zero
Terms = NDArray[np.float64]


def clipped(h: Terms, J: Terms, clip: float) -> tuple[Integers, Integers]:
    """Terms of records in whole steps of the clip, none of them larger than it.

    Args:
        h: fields [R, N]. J: couplings [R, N, N], symmetric, without a diagonal.
    """
    size = np.abs(h).sum(1) + np.abs(J).sum((1, 2)) / 2
    scale = STEPS / np.maximum(size, clip)
    whole = np.trunc(h * scale[:, None]), np.trunc(J * scale[:, None, None])
    return whole[0].astype(np.int32), whole[1].astype(np.int32)


def exact(h: Integers, J: Integers, I0: float, num: int, seed: int) -> NDArray[np.int8]:
    """States drawn by Boltzmann's law, by enumeration: of few spins, [S, N].

    Args:
        h, J: sums over records of what `clipped` gives. I0: of a step of the clip.
    """
    drawn = np.random.default_rng(seed).choice(1 << len(h), num, p=boltzmann(h, J, I0))
    return states(len(h))[drawn].astype(np.int8)


def chain(
    h: Integers, J: Integers, I0: float, sweeps: int, num: int, seed: int
) -> NDArray[np.int8]:
    """States of as many chains after some sweeps, as `exact`."""
    walk = Chains(h, J, {}, num, seed)
    walk.order = np.arange(len(h))  # colours follow from couplings, so from records
    chances = walk.chances(I0)
    for _ in range(sweeps):
        walk.sweep(chances)
    return walk.m.T


def law_of_chain(h: Integers, J: Integers, I0: float, sweeps: int) -> NDArray[np.float64]:
    """The logarithm of the probability of each state [2^N] after some sweeps of `chain`, by
    enumeration."""
    m = states(len(h))
    p = np.full(len(m), -len(h) * math.log(2))
    for i in [*range(len(h))] * sweeps:
        both = np.logaddexp(p, p[np.arange(len(m)) ^ (1 << (len(h) - 1 - i))])
        p = both - np.logaddexp(0, -2 * I0 * m[:, i] * (h[i] + m @ J[i]))
    return p


def epsilon_exact(I0: float, clip: float) -> float:
    """Pure epsilon of a state that is drawn by Boltzmann's law; a record is added or taken away."""
    return 2 * I0 * clip


def epsilon_of_chain(I0: float, clip: float, sweeps: int, *, coupled: bool) -> float:
    """Epsilon of a chain's state, proved by composition; far above what it seems to be."""
    return sweeps * (2 if coupled else 1) * epsilon_exact(I0, clip)


def delta_of_chain(epsilon: float, spins: int, sweeps: int) -> float:
    """What words of 32 bits cost: each flip is off by no more than one of them."""
    return min(1.0, (1 + math.exp(min(epsilon, 700.0))) * spins * sweeps / WORDS)
