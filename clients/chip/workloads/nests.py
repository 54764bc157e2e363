"""One phase of one layer, and the nests of its gradients."""

from dataclasses import dataclass
from typing import Literal

from clients.chip.workloads.workload import Layer, Nest

Phase = Literal["forward", "input gradient", "weight gradient", "norms", "clip", "noise", "update"]


@dataclass(frozen=True, slots=True)
class Task:
    """One phase of one layer.

    Attributes:
        nest: products for the array, run `repeat` times.
        stays: its weights are the same each time, and stay on the chip if there is room.
        lane_operations: element-wise operations.
        passing: done on values as they leave the array, where there is one.
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
    stays: bool = False
    passing: bool = False


def input_gradient(nest: Nest, batch: int) -> Nest:
    """Of `batch` records: the zero-inserted gradient of the output, by the turned kernel."""
    height = max(nest.height - nest.padding[0], 1)
    width = max(nest.width - nest.padding[1], 1)
    span = (height + nest.kernel_rows - 1, width + nest.kernel_columns - 1)
    return Nest(
        batch=batch * nest.batch,
        filters=nest.channels,
        channels=nest.filters,
        rows=height,
        columns=width,
        kernel_rows=nest.kernel_rows,
        kernel_columns=nest.kernel_columns,
        groups=nest.groups,
        padding=(max(span[0] - nest.rows, 0), max(span[1] - nest.columns, 0)),
        computed=nest.computed,
    )


def steps_back(layer: Layer, batch: int, through: bool) -> list[tuple[Nest, int]]:
    """A recurrent layer's steps back, and how many of each.

    A step gives its state a gradient, save the first, whose state is a constant; and its input, if
    it passes `through`.
    """
    nest = layer.nest
    assert nest is not None
    to_input = nest.channels - layer.state if through else 0
    widths = ((layer.state + to_input, layer.steps - 1), (to_input, 1))
    return [
        (Nest(batch * nest.batch, width, nest.filters, 1, 1), times)
        for width, times in widths
        if width and times
    ]


def weight_gradient(nest: Nest, batch: int) -> Nest:
    """The kernel's positions are the outputs; the gradient of the output is the kernel."""
    return Nest(
        batch=nest.channels,
        filters=nest.filters,
        channels=batch * nest.batch,
        rows=nest.kernel_rows,
        columns=nest.kernel_columns,
        kernel_rows=nest.rows,
        kernel_columns=nest.columns,
        stride=nest.dilation,
        dilation=nest.stride,
        groups=nest.groups,
        padding=nest.padding,
        records_summed=True,
        computed=nest.computed,
    )
