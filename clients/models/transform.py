"""A fixed transform before a model, and the steps of which it consists.

It learns nothing. A device that trains computes it once for each record, before the first round,
and keeps what it gives (`clients.training.records`); whoever asks about a new record computes it
for that record.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Product(NamedTuple):
    """`groups` products [positions, depth] x [depth, outputs] of values and fixed weights.

    Attributes:
        repeated: its weights are those of an earlier step: they are in memory already.
    """

    groups: int
    positions: int
    depth: int
    outputs: int
    repeated: bool = False


class Step(NamedTuple):
    """One step of a transform, for one record.

    Attributes:
        reads: indices of the steps whose values it reads; -1 is the record.
        size: values that it gives.
        product: None where each value is worked on by itself.
    """

    name: str
    reads: tuple[int, ...]
    size: int
    product: Product | None = None


class Transform(NamedTuple):
    """What a model reads instead of records of one form.

    Attributes:
        apply: records float32 [N, *form.shape], as a model would read them -> inputs [N, *shape].
        shape: of an input.
        steps: those of one record, in the order in which `apply` does them.
        block: records that `apply` works on together.
    """

    apply: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    steps: Callable[[], list[Step]]
    block: int

    def __call__(self, x: Tensor) -> Tensor:
        """As `apply`."""
        return self.apply(x)
