"""A batch in passes: which records are computed together, and what fills up a pass on a GPU.

The kernel that a GPU takes for a product depends on how many rows it has, and a record's gradient,
in its last bits, on the kernel. So there each pass has as many rows, by public numbers alone, and
who else is in the batch changes nothing of what a record adds.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MULTIPLE = 8  # of rows
UNLIKELY = 4  # deviations: a batch that is larger comes in one pass more


def in_pieces(indices: Tensor, piece: int | None) -> Sequence[Tensor]:
    """So many parts of like size that none has more than `piece`; None: one part."""
    return indices.chunk(max(1, -(-len(indices) // (piece or max(1, len(indices))))))


def rows_of(expected: float, most: int) -> int:
    """Rows of each pass over a Poisson batch: few passes, and few rows that nobody fills.

    Args:
        expected: records in a batch, by public numbers.
        most: rows of a pass.
    """
    likely = expected + UNLIKELY * math.sqrt(expected) + 1
    share = likely / math.ceil(likely / most)
    return min(most, math.ceil(share / MULTIPLE) * MULTIPLE)


def padded(x: Tensor, rows: int) -> Tensor:
    """Inputs [B, ...] and as many of zeros as are missing: [rows, ...]."""
    return torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])])


def alone(outputs: Any, num: int, rows: int) -> Any:
    """Of the outputs for a padded pass those for its records; what has other rows is left."""
    if isinstance(outputs, Tensor) and outputs.shape[:1] == (rows,):
        return outputs[:num]
    return outputs
