"""Spins flipped one after another, in many chains at once: a chain a lane of a vector.

A field is an integer, so the chance of each is looked up, and compared with a word of xorshift32
(Marsaglia 2003), which each chain has of its own.

Shapes: N spins, R chains, F free spins, D the most neighbours of a spin.
"""

from typing import Any

import numpy as np

from privacy.compiling import compiled


@compiled  # type: ignore[untyped-decorator]
def sweep(
    m: Any, order: Any, h: Any, degree: Any, near: Any, weight: Any, chance: Any, words: Any
) -> None:
    """Flip each free spin once, m int8 [N, R] in place.

    Args:
        order: free spins [F], colour by colour.
        h: fields int32 [N].
        degree: neighbours of a spin [N]; near, weight: which they are, and their couplings [N, D].
        chance: of a field of -L to L, uint32 [2 L + 1]: a word below it is 1.
        words: the chains' registers uint32 [R], none of them 0.
    """
    field, middle = np.empty(m.shape[1], np.int32), np.int32(len(chance) // 2)
    one = np.int8(1)
    for i in order:
        field[:] = h[i] + middle
        for k in range(degree[i]):
            coupling, other = weight[i, k], m[near[i, k]]
            for r in range(len(field)):
                field[r] += coupling * np.int32(other[r])
        mine = m[i]
        for r in range(len(field)):
            word = words[r]
            word ^= np.uint32(word << np.uint32(13))
            word ^= np.uint32(word >> np.uint32(17))
            word ^= np.uint32(word << np.uint32(5))
            words[r] = word
            mine[r] = one if word < chance[np.uint32(field[r])] else -one  # no wrap at 0


@compiled  # type: ignore[untyped-decorator]
def read(m: Any, spins: Any, out: Any) -> None:
    """Numbers of the bits that spins stand for, lowest first: out int64 [R]."""
    out[:] = 0
    for k in range(len(spins)):
        for r in range(len(out)):
            if m[spins[k], r] > 0:
                out[r] += np.int64(1) << np.int64(k)
