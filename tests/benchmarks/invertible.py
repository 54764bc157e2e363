"""Invertible logic: is it Boltzmann's law that chains obey, how often do they factor, how fast?

A step is a flip of one spin of one chain, which is the least that it can be. Factored are all
products of two factors greater than 1, each by chains of its own; nothing is drawn but their seeds.
"""

from collections.abc import Callable
from typing import Any

import measure
import numpy as np
from spikes import by_numpy

from attacks.leakage import clopper_pearson
from clients.arithmetic.pbits.circuits import Circuit, multiplier
from clients.arithmetic.pbits.factoring import factor
from clients.arithmetic.pbits.gates import TABLES, gate
from clients.arithmetic.pbits.sampling import Chains, boltzmann, visited

COLD = (0.2, 0.5, 1.0)
STEPS, CHAINS = {4: 10**6, 6: 10**7}, {4: 16, 6: 4}


def adder(bits: int) -> Circuit:
    """Of two numbers, by gates that hand on the carry."""
    circuit = Circuit()
    a, b = circuit.spins(bits), circuit.spins(bits)
    _, carry = circuit.add("half adder", [a[0], b[0]])[:2]
    for i in range(1, bits):
        _, carry = circuit.add("full adder", [a[i], b[i], carry])[:2]
    return circuit


def law() -> dict[str, Any]:
    """Total variation between the states that chains visit and Boltzmann's law, by enumeration."""
    machines = {name: gate(name)[:2] for name in TABLES}
    machines["adder of 2 bits"] = adder(2).matrices()
    return {
        name: {
            "spins": len(h),
            "total_variation": {
                I0: float(np.abs(_seen(h, J, I0) - boltzmann(h, J, I0)).sum() / 2) for I0 in COLD
            },
        }
        for name, (h, J) in machines.items()
    }


def _seen(h: Any, J: Any, I0: float) -> Any:
    sweeps = 2000 if len(h) < 10 else 10_000
    return visited(h, J, I0, chains=1024, sweeps=sweeps, burn=500, seed=1)


def factored(bits: int) -> dict[str, Any]:
    """The share of chains that have found the factors after so many steps of their own."""
    free = len(multiplier(bits).circuit.matrices()[0]) - 2 * bits
    numbers = range(2, 1 << bits)
    products = sorted({a * b for a in numbers for b in numbers})
    found = [
        factor(p, bits, chains=CHAINS[bits], sweeps=STEPS[bits] // free, seed=p) for p in products
    ]
    solved, trials = sum(f.solved for f in found), sum(f.chains for f in found)
    return {
        "products": len(products),
        "steps": STEPS[bits],
        "chains": trials,
        "solved": solved,
        "share_95": [solved / trials, *clopper_pearson(solved, trials)],
        "median_over_guessing": float(
            np.median([(f.median or np.inf) / f.guessing for f in found])
        ),
    }


def flipped(chains: int) -> dict[str, Any]:
    """Flips a second beside numpy, which flips the same spins of as many chains."""
    h, J = multiplier(6).circuit.matrices()
    walk = Chains(h, J, {}, 1024, 1)
    chances, times = walk.chances(0.5), 10
    theirs = by_numpy(Chains(h, J, {}, chains, 1), h, J, 0.5)

    def often(sweep: Callable[[], None]) -> Callable[[], None]:
        return lambda: [sweep() for _ in range(times)] and None

    found = measure.compare(often(lambda: walk.sweep(chances)), often(theirs), repeats=5)
    flips = times * len(walk.order)
    return {
        "ours_a_second": flips * 1024 / min(found["ours_s"]),
        "numpy_a_second": flips * chains / min(found["theirs_s"]),
        "ratio": found["ratio"] * 1024 / chains,
    }


def run() -> dict[str, Any]:
    """On one core."""
    return {
        "law": law(),
        "factored": {f"{2 * bits} bits": factored(bits) for bits in STEPS},
        "flips of 1,024 chains against numpy's of one": flipped(1),
        "flips of 1,024 chains against numpy's of as many": flipped(1024),
    }


if __name__ == "__main__":
    measure.show(run())
