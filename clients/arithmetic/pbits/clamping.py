"""What clamping a neuron's output does to the p-bits that are its weights.

A weight is a p-bit m_i of -1 and 1 with a field c_i, its counter; a neuron's sum is s = sum_i m_i
over the inputs that are 1. Clamped to t, the neuron has the energy

    E(m) = - sum_i c_i m_i - I0 min(t s, K)

so that, as in equation 4 of `sampling` at I0 = 1, a weight is 1 with probability
1 / (1 + exp(-2 c_i - 2 I0 t)) where the others' sum does not reach K yet, and 1 / (1 + exp(-2 c_i))
where it does. Both chains, the output clamped and free, read the same words: what differs between
them after one sweep, begun at a random weight, are the record's votes (the step of contrastive
divergence on sum_i log P(t | x; c)).

Shapes: B records, I inputs, O neurons, D wires of a neuron, F votes of all records together.
"""

from typing import Any

import numpy as np

from clients.arithmetic.dice import inlined, uniform
from privacy.compiling import compiled

I0 = 0.15  # of a clamped output
MARGIN = 1.25  # K, in roots of the number of weights in the sum: what that deviates by


@inlined  # type: ignore[untyped-decorator]
def _grown(votes: Any, num: int) -> Any:
    """A place for one more."""
    if num < len(votes):
        return votes
    more = np.empty(2 * len(votes), votes.dtype)
    more[:num] = votes
    return more


@compiled  # type: ignore[untyped-decorator]
def clamp(x: Any, wires: Any, odds: Any, t: Any, seeds: Any) -> Any:
    """Votes of neurons, each of which is clamped by itself.

    Args:
        x: uint8 [B, I] of 0 and 1.
        wires: the inputs that each neuron reads, int64 [O, D].
        odds: exp(-2 c), float32 [O, D].
        t: int8 [B, O]; a neuron at 0 is free.
        seeds: uint64 [B].

    Returns:
        Of each record how many int64 [B]; of each vote the weight o D + d, negative less one where
        it is against, int64 [F].
    """
    (O, D), num = wires.shape, 0  # noqa: E741
    count, votes = np.zeros(len(x), np.int64), np.empty(1024, np.int64)
    on, m, word = np.empty(D, np.int64), np.empty(D, np.int64), np.empty(D, np.float32)
    pulled = np.float32(np.exp(-2 * I0)), np.float32(np.exp(2 * I0))
    for b in range(len(x)):
        for o in range(O):
            side = t[b, o]
            if side == 0:
                continue
            n, s = 0, 0
            for d in range(D):
                if x[b, wires[o, d]]:
                    on[n], word[n] = d, uniform(seeds[b], o * D + d)
                    m[n] = 1 if word[n] * (1 + odds[o, d]) < 1 else -1
                    s, n = s + m[n], n + 1
            K = MARGIN * np.sqrt(n)
            if n == 0 or side * s >= K + 1:
                continue
            factor = pulled[0] if side > 0 else pulled[1]
            first = int(uniform(seeds[b], O * D + o) * n)
            for k in range(n):
                a = (first + k) % n
                if side * (s - m[a]) < K and m[a] != side:
                    up = word[a] * (1 + odds[o, on[a]] * factor) < 1
                    if up == (side > 0):
                        s += 2 * side
                        votes = _grown(votes, num)
                        at = o * D + on[a]
                        votes[num] = at if side > 0 else -1 - at
                        num += 1
                        count[b] += 1
    return count, votes[:num]


@compiled  # type: ignore[untyped-decorator]
def duel(x: Any, odds: Any, label: Any, rival: Any, seeds: Any) -> Any:
    """Votes of two neurons whose difference of sums is clamped to 1, as `clamp`.

    Args:
        x, odds, seeds: as there; each neuron reads all inputs, odds [O, I].
        label, rival: the neurons of a record, int64 [B]; at -1 all are free.
    """
    I, num = x.shape[1], 0  # noqa: E741
    count, votes = np.zeros(len(x), np.int64), np.empty(1024, np.int64)
    on, m, word = np.empty(2 * I, np.int64), np.empty(2 * I, np.int64), np.empty(2 * I, np.float32)
    pulled = np.float32(np.exp(-2 * I0)), np.float32(np.exp(2 * I0))
    for b in range(len(x)):
        if label[b] < 0:
            continue
        n, s = 0, 0
        for i in range(I):
            if x[b, i]:
                for side in (1, -1):
                    at = (label[b] if side > 0 else rival[b]) * I + i
                    on[n] = at if side > 0 else -1 - at
                    word[n] = uniform(seeds[b], at)
                    m[n] = side if word[n] * (1 + odds[at // I, i]) < 1 else -side
                    s, n = s + m[n], n + 1
        K = MARGIN * np.sqrt(n)
        if n == 0 or s >= K + 1:
            continue
        first = int(uniform(seeds[b], odds.size) * n)
        for k in range(n):
            a = (first + k) % n
            if s - m[a] < K and m[a] < 0:
                side = 1 if on[a] >= 0 else -1
                at = on[a] if side > 0 else -1 - on[a]
                factor = pulled[0] if side > 0 else pulled[1]
                up = word[a] * (1 + odds[at // I, at % I] * factor) < 1
                if up == (side > 0):
                    s += 2
                    votes = _grown(votes, num)
                    votes[num] = on[a]
                    num += 1
                    count[b] += 1
    return count, votes[:num]
