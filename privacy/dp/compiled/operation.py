"""What a layer is to the kernels."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from privacy.dp.kernels import plan

Shape = tuple[int, ...]
Order = NDArray[np.int64]


class Orders(NamedTuple):
    """Which of torch's numbers each weight is: in the forward pass, and in the backward pass."""

    forward: Order
    backward: Order


class Operation(NamedTuple):
    """The shape that a layer gives, and its row of the plan.

    An operation of no kind only changes the shape. `numbers` are columns of the plan by name.

    Attributes:
        aux_size: numbers of a record that the backward pass wants.
        scratch: numbers to work with, behind those of the weights' gradient.
        orders: of the layer's weight; None: it lies as torch has it.
        last: of images whose channels lie last: how many it reads, and writes. None: it reads
            what it is given in any layout.
    """

    kind: int | None
    shape: Shape
    numbers: dict[int, int] | None = None
    aux_size: int = 0
    scratch: int = 0
    orders: Orders | None = None
    last: tuple[int, int] | None = None


# The operations of a layer on records of a shape; None if the kernels cannot do it.
Lowering = Callable[[nn.Module, Shape], list[Operation] | None]


def geometry(*parts: Shape) -> dict[int, int]:
    """The plan's columns from CHANNELS on, in their order."""
    columns = range(plan.CHANNELS, plan.NUM_COLUMNS)
    return dict(zip(columns, (number for part in parts for number in part), strict=True))
