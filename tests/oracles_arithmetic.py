"""Slow and obvious twins of the arithmetic's kernels: one bit, one cycle, one state at a time."""

import numpy as np


def shift_register(width, taps, steps):
    """States of a Fibonacci register from 1, as lists of bits."""
    bits = [0] * (width - 1) + [1]  # the highest first
    states = []
    for _ in range(steps):
        states.append(int("".join(map(str, bits)), 2))
        feedback = sum(bits[width - tap] for tap in taps) % 2
        bits = [*bits[1:], feedback]
    return states


def encode(thresholds, states):
    """Streams of bits: thresholds [N, I], states [L, I] -> [N, L, I]."""
    streams = np.zeros((len(thresholds), *states.shape), dtype=int)
    for n, row in enumerate(thresholds):
        for t, cycle in enumerate(states):
            for i, (threshold, state) in enumerate(zip(row, cycle, strict=True)):
                streams[n, t, i] = int(state) <= int(threshold)
    return streams


def products(x, w, zero):
    """Sums of products, cycle by cycle: bits x [B, L, I], w [O, L, I] -> integers [B, L, O].

    Args:
        zero: the number of a 0 in x: -1 (an XNOR of two bits) or 0.
    """
    sums = np.zeros((len(x), x.shape[1], len(w)), dtype=int)
    for b in range(len(x)):
        for t in range(x.shape[1]):
            for o in range(len(w)):
                for i in range(x.shape[2]):
                    one = 1 if w[o, t, i] else -1
                    sums[b, t, o] += one if x[b, t, i] else zero * one
    return sums


def counters(sums, bound):
    """Output bits of saturating counters with states -bound ... bound - 1, from state 0."""
    bits = np.zeros(sums.shape, dtype=int)
    for b in range(sums.shape[0]):
        for o in range(sums.shape[2]):
            state = 0
            for t in range(sums.shape[1]):
                state = min(max(state + int(sums[b, t, o]), -bound), bound - 1)
                bits[b, t, o] = state >= 0
    return bits


def nearest_word(x, step, words):
    """The multiple of `step`, at most `words` of them from zero, nearest to x."""
    return min((abs(x - k * step), k * step) for k in range(-words, words + 1))[1]


def compete(spikes, w, theta, decay):
    """Neurons of which one fires a step: spikes [T, I], w [O, I] -> [T, O]."""
    membranes, fired = np.zeros(len(w)), np.zeros((len(spikes), len(w)))
    for t, step in enumerate(spikes):
        membranes = decay * membranes + (w / w.sum(1, keepdims=True)) @ step
        if (membranes > theta).any():
            fired[t, np.argmax(membranes - theta)] = 1
            membranes = np.zeros(len(w))
    return fired


def by_timing(spikes, fired, w, kept, *, triplet):
    """What a record changes: spikes [T, I], fired [T, O] -> of weights [O, I], of thresholds [O].

    Potentiation looks back over all earlier pairs of spikes, one by one.
    """
    change = np.zeros(w.shape)
    slowly = 1 - (1 - kept) / 2
    for t, o in zip(*np.nonzero(fired), strict=True):
        earlier = [slowly ** (t - 1 - s) for s in range(t) if fired[s, o]]
        rise = 1 + sum(earlier) if triplet else 1
        for i in range(w.shape[1]):
            seen = sum((1 - kept) * kept ** (t - s) for s in range(t + 1) if spikes[s, i])
            change[o, i] += rise * seen * (1 - w[o, i]) - 0.02 * w[o, i]
    return 0.2 * change, (fired.mean(0) - 0.2 / len(w)) / 15
