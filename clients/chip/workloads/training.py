"""A step of inference, SGD or DP-SGD as a list of tasks on loop nests.

    forward             out[N,K,P,Q]  sums over C,R,S
    input gradient      out[N,C,H,W]  sums over K,R,S: a convolution of the zero-inserted gradient
    weight gradient     out[C,K,R,S]  sums over N,P,Q; per sample, N nests that sum over P,Q

Modelled: every product of convolutions and dense layers, per-sample norms, clipping, noise and
update, and element-wise layers by their number of elements. Not modelled: the loss, the data
loader, and the optimizer's momentum (one more word read and written a parameter).
"""

from dataclasses import dataclass
from typing import Literal

from clients.chip.workloads.workload import Layer, Nest, Network, Workload

Phase = Literal["forward", "input gradient", "weight gradient", "norms", "clip", "noise", "update"]


@dataclass(frozen=True, slots=True)
class Task:
    """One phase of one layer.

    Attributes:
        nest: products for the array, run `repeat` times.
        lane_operations: element-wise operations.
        gaussians: normal variates drawn.
        moved: words that lanes and generator read and write in memory.
    """

    layer: str
    phase: Phase
    nest: Nest | None = None
    repeat: int = 1
    lane_operations: int = 0
    gaussians: int = 0
    moved: int = 0


def tasks(network: Network, workload: Workload, batch: int) -> list[Task]:
    """What a workload computes on a batch, phase by phase, layer by layer."""
    found = []
    for layer in network.layers:
        if layer.nest:
            found.append(Task(layer.name, "forward", _forward(layer, batch)))
        else:
            size = batch * (layer.size + network.words_into(layer))
            found.append(
                Task(
                    layer.name,
                    "forward",
                    lane_operations=batch * network.words_into(layer),
                    moved=size,
                )
            )
    if workload.step == "inference":
        return found
    weighted = [layer for layer in network.layers if layer.parameters]
    for layer in reversed(weighted):
        if layer is not weighted[0]:  # no gradient for the data, nor for what is fixed
            found.append(Task(layer.name, "input gradient", _input_gradient(layer, batch)))
        if workload.clips:
            found += CLIPPING[workload.clipping](layer, batch, layer is weighted[0])
        else:
            found.append(Task(layer.name, "weight gradient", _weight_gradient(layer, batch)))
    for layer in weighted:
        p = layer.parameters
        if workload.step == "dp-sgd" and workload.sigma:
            found.append(Task(layer.name, "noise", lane_operations=p, gaussians=p, moved=2 * p))
        found.append(Task(layer.name, "update", lane_operations=p, moved=3 * p))
    return found


def _forward(layer: Layer, batch: int) -> Nest:
    assert layer.nest is not None
    return layer.nest.with_batch(batch)


def _input_gradient(layer: Layer, batch: int) -> Nest:
    nest = layer.nest
    assert nest is not None
    height = max(nest.height - nest.padding[0], 1)
    width = max(nest.width - nest.padding[1], 1)
    span = (height + nest.kernel_rows - 1, width + nest.kernel_columns - 1)
    return Nest(
        batch=batch,
        filters=nest.channels,
        channels=nest.filters,
        rows=height,
        columns=width,
        kernel_rows=nest.kernel_rows,
        kernel_columns=nest.kernel_columns,
        groups=nest.groups,
        padding=(max(span[0] - nest.rows, 0), max(span[1] - nest.columns, 0)),
    )


def _weight_gradient(layer: Layer, batch: int) -> Nest:
    """The kernel's positions are the outputs; the gradient of the output is the kernel."""
    nest = layer.nest
    assert nest is not None
    return Nest(
        batch=nest.channels,
        filters=nest.filters,
        channels=batch,
        rows=nest.kernel_rows,
        columns=nest.kernel_columns,
        kernel_rows=nest.rows,
        kernel_columns=nest.columns,
        stride=nest.dilation,
        dilation=nest.stride,
        groups=nest.groups,
        padding=nest.padding,
        records_summed=True,
    )


def _per_sample(layer: Layer, batch: int, first: bool) -> list[Task]:
    """Every record's gradient is computed, kept, normed, scaled and summed."""
    size = batch * layer.parameters
    return [
        Task(layer.name, "weight gradient", _weight_gradient(layer, 1), repeat=batch),
        Task(layer.name, "norms", lane_operations=size, moved=size),
        Task(layer.name, "clip", lane_operations=size, moved=size + layer.parameters),
    ]


def _ghost(layer: Layer, batch: int, first: bool) -> list[Task]:
    """Norms from the Gram matrices of inputs and gradients, [P Q, P Q] a record; then again."""
    nest = layer.nest
    assert nest is not None
    positions = nest.rows * nest.columns
    gram = Nest(1, positions, nest.reduction + nest.filters, positions, 1, groups=nest.groups)
    again = [] if first else [Task(layer.name, "input gradient", _input_gradient(layer, batch))]
    squares = batch * nest.groups * positions * positions
    return [
        Task(layer.name, "norms", gram, repeat=batch, lane_operations=squares, moved=2 * squares),
        *again,
        Task(layer.name, "weight gradient", _weight_gradient(layer, batch)),
    ]


def _onepass(layer: Layer, batch: int, first: bool) -> list[Task]:
    """Dense: |x|^2 |g|^2 and one weighted product. Convolution: per-sample gradients, summed."""
    nest = layer.nest
    assert nest is not None
    if nest.rows * nest.columns > 1:
        return _per_sample(layer, batch, first)
    size = batch * (nest.groups * (nest.channels + nest.filters))
    return [
        Task(layer.name, "norms", lane_operations=size, moved=size),
        Task(layer.name, "weight gradient", _weight_gradient(layer, batch)),
    ]


CLIPPING = {"per-sample": _per_sample, "ghost": _ghost, "onepass": _onepass}


def gradient_words(network: Network, workload: Workload, batch: int) -> int:
    """Words of gradient that a training step holds at once: batch x parameters if per sample."""
    if workload.step == "inference":
        return 0
    if not workload.clips or workload.clipping == "ghost":
        return network.parameters
    if workload.clipping == "per-sample":
        return batch * network.parameters
    return sum(
        layer.parameters * (batch if layer.nest and layer.nest.rows * layer.nest.columns > 1 else 1)
        for layer in network.layers
    )
