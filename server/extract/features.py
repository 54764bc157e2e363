"""What the accuracy of a net is predicted from, before it is asked (`server.predictor`).

The logarithms of its weights, products, widths and bits, and its depth and kernels. Those that were
asked have seen test records alone, which a run takes as public.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from server.extract.candidates import Candidate


def features_of(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """One row each."""
    rows = []
    most = max(len(c.net.model.hidden) for c in candidates)
    for c in candidates:
        model, bits = c.net.model, c.net.arithmetic.formats.weight_bits
        widths = [*model.hidden, *[1] * (most - len(model.hidden)), max(1, model.width), bits]
        depth = len(model.hidden) + model.depth
        rows.append([np.log(c.weights), np.log(c.macs), depth, model.trim, *np.log(widths)])
    return np.array(rows, np.float64)
