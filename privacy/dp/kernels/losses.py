"""Losses of a block of records, and the gradients of its outputs [b, O].

Each record's loss reads its own outputs and targets only. What is no number stays none: a gradient
that hid it would be of another record than the one that has it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.dp.kernels.compiling import compiled
from privacy.dp.kernels.elements import copy
from privacy.dp.kernels.plan import Floats, f32


@compiled
def softmax(outputs: Floats, labels: NDArray[np.int64], g: Floats) -> float:
    """Cross-entropy of softmax: the sum of the losses; gradients into g. Labels are int64 [b]."""
    loss = 0.0
    for s in range(len(outputs)):
        shifted = outputs[s] - outputs[s].max()
        e = np.exp(shifted)
        loss += np.log(e.sum()) - shifted[labels[s]]
        copy(e / e.sum(), g[s])
        g[s, labels[s]] -= f32(1)
    return loss


@compiled
def binary(outputs: Floats, targets: Floats, g: Floats) -> float:
    """Binary cross-entropy of logits, the mean over a record's; targets [b, O] are 0 or 1."""
    loss = 0.0
    for s in range(len(outputs)):
        for o in range(outputs.shape[1]):
            v, t = np.float64(outputs[s, o]), np.float64(targets[s, o])
            e = np.exp(-abs(v))
            loss += np.log1p(e) - v * t + (v if v > 0 else 0.0)
            g[s, o] = ((1 / (1 + e) if v > 0 else e / (1 + e)) - t) / outputs.shape[1]
    return loss / outputs.shape[1]


@compiled
def huber(outputs: Floats, targets: Floats, g: Floats) -> float:
    """Half the square of a difference up to 1, behind it linear; the mean over a record's."""
    loss = 0.0
    for s in range(len(outputs)):
        for o in range(outputs.shape[1]):
            d = _difference(outputs, targets, s, o)
            loss += 0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5
            slope = d
            if d > 1:
                slope = 1.0
            elif d < -1:
                slope = -1.0
            g[s, o] = slope / outputs.shape[1]
    return loss / outputs.shape[1]


@compiled
def squares(outputs: Floats, targets: Floats, g: Floats) -> float:
    """The square of a difference, the mean over a record's."""
    loss = 0.0
    for s in range(len(outputs)):
        for o in range(outputs.shape[1]):
            d = _difference(outputs, targets, s, o)
            loss += d * d
            g[s, o] = 2 * d / outputs.shape[1]
    return loss / outputs.shape[1]


@compiled
def _difference(outputs: Floats, targets: Floats, s: int, o: int) -> Any:
    return np.float64(outputs[s, o]) - np.float64(targets[s, o])
