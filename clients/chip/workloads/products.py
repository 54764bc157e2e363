"""The loop nests of torch's products: convolutions and matrix products."""

import math

from torch import Tensor

from clients.chip.workloads.workload import Nest


def convolution(
    x: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    out: Tensor,
) -> Nest:
    """Of x [1, C, ...] and a weight [K, C / groups, ...] in one to three dimensions."""
    kernel, sides, counts = (list(t.shape[2:]) for t in (weight, x, out))
    spans = [
        (count - 1) * s + (k - 1) * d + 1
        for count, s, k, d in zip(counts, stride, kernel, dilation, strict=True)
    ]
    zeros = [
        span - min(side, span - pad) for span, side, pad in zip(spans, sides, padding, strict=True)
    ]
    depth, planes = (kernel[0], counts[0]) if len(kernel) == 3 else (1, 1)

    def flat(values: list[int], one: int) -> tuple[int, int]:
        return (one, values[0]) if len(values) == 1 else (values[-2], values[-1])

    rows, columns = flat(counts, 1)
    kernel_rows, kernel_columns = flat(kernel, 1)
    return Nest(
        batch=planes * out.shape[0],
        filters=weight.shape[0] // groups,
        channels=weight.shape[1] * depth,
        rows=rows,
        columns=columns,
        kernel_rows=kernel_rows,
        kernel_columns=kernel_columns,
        stride=flat(stride, 1),
        dilation=flat(dilation, 1),
        groups=groups,
        padding=flat(zeros, 0),
    )


def transposed(x: Tensor, weight: Tensor, groups: int) -> Nest:
    """Of x [1, C, ...] and a weight [C, K / groups, ...]: each position gives a kernel of sums."""
    return Nest(
        batch=x.shape[0],
        filters=math.prod(weight.shape[1:]),
        channels=x.shape[1] // groups,
        rows=math.prod(x.shape[2:]),
        columns=1,
        groups=groups,
    )


def of_weights(a: Tensor, b: Tensor, first: bool, words: int) -> Nest:
    """A matrix product with weights.

    Args:
        a, b: [M, K] and [K, N], or with a common batch before; vectors are one column.
        first: `a` are the weights.
        words: of weights that there are; fewer than in the operand where it repeats them.
    """
    batch, m, k, n = _sides(a, b)
    filters, positions = (m, n) if first else (n, m)
    if batch > 1 and words < batch * k * filters:
        batch, positions = 1, batch * positions
    return Nest(1, filters, k, positions, 1, groups=batch)


def bilinear(x: Tensor, weight: Tensor, out: Tensor) -> Nest:
    """Of x and a weight [K, C, D]: a matrix product by all K D, whose results another weighs."""
    positions = out.numel() // weight.shape[0]
    channels = x.numel() // positions
    return Nest(1, weight.numel() // channels, channels, positions, 1)


def of_activations(a: Tensor, b: Tensor) -> Nest:
    """A product of two activations: a group a head, and no weights."""
    batch, m, k, n = _sides(a, b)
    return Nest(1, n, k, m, 1, groups=batch, computed=True)


def _sides(a: Tensor, b: Tensor) -> tuple[int, int, int, int]:
    m, k = (1, a.shape[0]) if a.dim() == 1 else a.shape[-2:]
    n = 1 if b.dim() == 1 else b.shape[-1]
    return (a.shape[0] if a.dim() == 3 else 1), m, k, n
