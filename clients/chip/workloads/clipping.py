"""What per-sample clipping adds to the gradients of a layer, by how it is done.

A layer whose weights are another's too adds to that one's gradient of each record, so it is clipped
as `per-sample` where a closed form would not see both.
"""

from collections.abc import Callable
from typing import Literal

from clients.chip.workloads.nests import Task, weight_gradient
from clients.chip.workloads.workload import Layer, Nest

Clipping = Literal["per-sample", "ghost", "onepass"]


def _per_sample(layer: Layer, batch: int, twice: list[Task]) -> list[Task]:
    """Every record's gradient is computed, kept, normed, scaled and summed."""
    assert layer.nest is not None
    words = layer.nest.weights + layer.bias
    size = batch * words
    return [
        Task(layer.name, "weight gradient", weight_gradient(layer.unrolled, 1), repeat=batch),
        Task(layer.name, "norms", lane_operations=size, moved=size),
        Task(layer.name, "clip", lane_operations=size, moved=size + words),
    ]


def _ghost(layer: Layer, batch: int, twice: list[Task]) -> list[Task]:
    """Norms from the Gram matrices of inputs and gradients, [P Q, P Q] a record; then again."""
    nest = layer.unrolled
    positions = nest.batch * nest.rows * nest.columns
    gram = Nest(1, positions, nest.reduction + nest.filters, positions, 1, groups=nest.groups)
    squares = batch * nest.groups * positions * positions
    return [
        Task(layer.name, "norms", gram, repeat=batch, lane_operations=squares, moved=2 * squares),
        *twice,
        Task(layer.name, "weight gradient", weight_gradient(nest, batch)),
    ]


def _onepass(layer: Layer, batch: int, twice: list[Task]) -> list[Task]:
    """Dense: |x|^2 |g|^2 and one weighted product. Others: per-sample gradients, summed."""
    nest = layer.unrolled
    if not _separates(layer):
        return _per_sample(layer, batch, twice)
    size = batch * (nest.groups * (nest.channels + nest.filters))
    return [
        Task(layer.name, "norms", lane_operations=size, moved=size),
        Task(layer.name, "weight gradient", weight_gradient(nest, batch)),
    ]


CLIPPING: dict[Clipping, Callable[[Layer, int, list[Task]], list[Task]]] = {
    "per-sample": _per_sample,
    "ghost": _ghost,
    "onepass": _onepass,
}


def clip_vector(layer: Layer, clipping: Clipping, batch: int) -> list[Task]:
    """Norms and clip of what is learnt outside a product: a record's gradient of it is held."""
    size = held_per_record(layer, "onepass" if clipping == "ghost" else clipping, batch)
    return [
        Task(layer.name, "norms", lane_operations=size, moved=size),
        Task(layer.name, "clip", lane_operations=size, moved=size + layer.bias),
    ]


def held_per_record(layer: Layer, clipping: Clipping, batch: int) -> int:
    """Words of a layer's gradient held at once; of a table only the rows that were read."""
    words = layer.parameters
    if clipping == "per-sample":
        return batch * words
    if layer.nest is None and layer.kind == "lookup":
        return min(batch * layer.size, batch * words)
    if clipping == "ghost" and layer.nest:
        return words
    return words if layer.nest and _separates(layer) else batch * words


def _separates(layer: Layer) -> bool:
    """Is a record's gradient one outer product, whose norm is the product of two norms?"""
    nest = layer.unrolled
    return nest.batch * nest.rows * nest.columns == 1 and layer.weights != "tied"
