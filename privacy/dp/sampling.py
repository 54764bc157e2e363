"""Poisson sampling: each record by itself, with a probability that is at most the one charged."""

import numpy as np
import torch
from torch import Tensor

from privacy.cipher import Stream


def poisson(stream: Stream, num_records: int, rate: float) -> Tensor:
    """Indices of the records drawn, in order, int64 [any].

    A record is in if its word of 64 bits is below rate * 2^64, rounded down: the probability is
    the rate or up to 2^-64 less, so that what is charged for it suffices however small it is.
    """
    if rate >= 1:
        return torch.arange(num_records)
    words = stream.words(num_records)
    return torch.from_numpy(np.flatnonzero(words < np.uint64(int(rate * 2.0**64))))
