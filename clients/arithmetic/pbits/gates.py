"""From a truth table to a Hamiltonian whose ground states are the rows of the table.

With spins m of -1 and 1 the energy is

    E(m) = - sum_i h_i m_i - sum_{i<j} J_ij m_i m_j

(Camsari, Faria, Sutton and Datta, "Stochastic p-bits for invertible logic", Phys. Rev. X 7, 2017,
eq. 4). A linear program finds h and J, no coefficient larger than another's 1, such that all rows
have one energy, and the gap to every other state is as wide as can be. A table that no couplings of
two can hold, such as that of XOR, is given one more spin.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ModelError

Integers = NDArray[np.int32]
LARGEST = 24  # of an integer coefficient


class Gate(NamedTuple):
    """Integer fields and couplings.

    Attributes:
        h: fields [N].
        J: couplings [N, N], symmetric, without a diagonal.
        gap: between the rows' energy and the next.
    """

    h: Integers
    J: Integers
    gap: int


def energies(h: NDArray, J: NDArray) -> NDArray:
    """Of all states [2^N], in the order of `states`."""
    m = states(len(h))
    found: NDArray = -(m @ h) - np.einsum("si,ij,sj->s", m, J, m) / 2
    return found


def states(num: int) -> NDArray[np.float64]:
    """All of some spins, [2^N, N]; the last spin counts fastest."""
    return np.array(list(itertools.product((-1.0, 1.0), repeat=num)))


def solve(rows: NDArray[np.float64]) -> Gate | None:
    """The gate whose ground states are those rows [R, N] of -1 and 1; None if there is none, and
    of rows that are all states, which no gap sets apart."""
    from scipy.optimize import linprog

    num = rows.shape[1]
    every = states(num)
    i, j = np.triu_indices(num, 1)

    def terms(m: NDArray) -> NDArray:  # the energy is linear in h and J
        return -np.concatenate([m, m[:, i] * m[:, j]], 1)

    known = {tuple(row) for row in rows}
    others = terms(every[[tuple(m) not in known for m in every]])
    size = num + len(i)
    ground = np.concatenate([terms(rows), -np.ones((len(rows), 1)), np.zeros((len(rows), 1))], 1)
    above = np.concatenate([-others, np.ones((len(others), 2))], 1)  # E >= ground + gap
    found = linprog(
        np.r_[np.zeros(size + 1), -1.0],
        A_ub=above,
        b_ub=np.zeros(len(others)),
        A_eq=ground,
        b_eq=np.zeros(len(rows)),
        bounds=[(-1, 1)] * size + [(None, None), (0, None)],
    )
    if found.status != 0 or found.x[-1] < 1e-6:
        return None
    for times in range(1, LARGEST + 1):
        whole = np.rint(found.x * times)
        if np.allclose(found.x * times, whole, atol=1e-6):
            J = np.zeros((num, num), np.int32)
            J[i, j] = J[j, i] = whole[num:size]
            return Gate(whole[:num].astype(np.int32), J, int(whole[-1]))
    return None


@lru_cache
def gate(name: str) -> Gate:
    """A gate by name: its spins are its inputs, its outputs and, for some, one more.

    Raises:
        ModelError: there is none of that name, or no table of its can be held.
    """
    if name not in TABLES:
        raise ModelError(f"{name}: no such gate; known: {', '.join(TABLES)}")
    inputs, function = TABLES[name]
    table = [(*bits, *function(*bits)) for bits in itertools.product((0, 1), repeat=inputs)]
    rows = 2.0 * np.array(table) - 1
    for more in _with_one_more(rows):
        if (found := solve(more)) is not None:
            return found
    raise ModelError(f"{name}: couplings of two spins, and one more spin, do not hold its table")


def _with_one_more(rows: NDArray) -> Iterator[NDArray]:
    yield rows
    for column in itertools.product((-1.0, 1.0), repeat=len(rows)):
        yield np.concatenate([rows, np.array(column)[:, None]], 1)


Bits = tuple[int, ...]
TABLES: dict[str, tuple[int, Callable[..., Bits]]] = {
    "and": (2, lambda a, b: (a & b,)),
    "or": (2, lambda a, b: (a | b,)),
    "xor": (2, lambda a, b: (a ^ b,)),
    "half adder": (2, lambda a, b: ((a + b) & 1, (a + b) >> 1)),
    "full adder": (3, lambda a, b, c: ((a + b + c) & 1, (a + b + c) >> 1)),
}
