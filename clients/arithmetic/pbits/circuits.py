"""Gates that share spins: their energies add, so the ground states satisfy all of them at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.arithmetic.pbits.gates import Gate, Integers, gate


class Circuit:
    """Spins, fields and couplings; grows by gates."""

    def __init__(self) -> None:
        self.num = 0
        self._fields: dict[int, int] = {}
        self._couplings: dict[tuple[int, int], int] = {}

    def spins(self, num: int) -> list[int]:
        """New ones."""
        self.num += num
        return list(range(self.num - num, self.num))

    def add(self, name: str, inputs: list[int]) -> list[int]:
        """A gate on those spins; returns its other spins, outputs first."""
        made: Gate = gate(name)
        spins = [*inputs, *self.spins(len(made.h) - len(inputs))]
        for a, i in enumerate(spins):
            self._fields[i] = self._fields.get(i, 0) + int(made.h[a])
            for b, j in enumerate(spins):
                if made.J[a, b]:
                    self._couplings[i, j] = self._couplings.get((i, j), 0) + int(made.J[a, b])
        return spins[len(inputs) :]

    def matrices(self) -> tuple[Integers, Integers]:
        """Fields [N] and couplings [N, N]."""
        h, J = np.zeros(self.num, np.int32), np.zeros((self.num, self.num), np.int32)
        for i, value in self._fields.items():
            h[i] = value
        for (i, j), value in self._couplings.items():
            J[i, j] = value
        return h, J


class Multiplier(NamedTuple):
    """An array of partial products and adders.

    Attributes:
        circuit: all spins.
        a, b, product: spins of the factors' bits and of the product's, lowest first.
    """

    circuit: Circuit
    a: list[int]
    b: list[int]
    product: list[int]


def multiplier(bits: int) -> Multiplier:
    """Of two factors of so many bits, 2 or more."""
    circuit = Circuit()
    a, b = circuit.spins(bits), circuit.spins(bits)
    columns: list[list[int]] = [[] for _ in range(2 * bits)]
    for i in range(bits):
        for j in range(bits):
            columns[i + j].append(circuit.add("and", [a[i], b[j]])[0])
    product = []
    for at, column in enumerate(columns):
        while len(column) > 1:  # an adder takes two or three of a weight, and carries one
            taken = [column.pop(0) for _ in range(min(3, len(column)))]
            name = "full adder" if len(taken) == 3 else "half adder"
            total, carry = circuit.add(name, taken)[:2]
            column.append(total)
            if at + 1 < len(columns):
                columns[at + 1].append(carry)
        product += column
    return Multiplier(circuit, a, b, product)


def colours(J: NDArray) -> list[list[int]]:
    """Spins in groups within which none is coupled to another: each may be flipped at once."""
    order = np.argsort(-(J != 0).sum(1), kind="stable").tolist()
    colour: dict[int, int] = {}
    for i in order:
        taken = {colour[j] for j in np.flatnonzero(J[i]).tolist() if j in colour}
        colour[i] = next(c for c in range(len(J)) if c not in taken)
    return [[i for i in order if colour[i] == c] for c in range(max(colour.values()) + 1)]
