"""A lowered net, bound to the net's weights."""

from typing import NamedTuple

import numpy as np
import scipy.linalg  # noqa: F401  # brings the BLAS of numba, or the limit below would miss it
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from privacy.dp import kernels
from privacy.dp.compiled.graph import Graph, Sizes, Unknown, Value
from privacy.dp.compiled.last import LAST
from privacy.dp.compiled.operation import Orders, Shape
from privacy.dp.compiled.planes import LOWERINGS, PLANES
from privacy.dp.grid import sum_share
from privacy.dp.kernels.plan import Plan

WORKSPACE = 1 << 20  # bytes of activations, gradients and patches at a time: they stay in the cache
MOST_RECORDS = 256  # at a time
MOST_SUM_SHARE = 2.0**-6  # of the clip, for sums in float32


# One client to a thread, so one thread to a matrix product; torch's own has one by
# clients.node.app.
threadpool_limits(limits=1, user_api="blas")


class Buffers(NamedTuple):
    """What the kernels write, flat; see privacy.dp.kernels."""

    values: np.ndarray
    grads: np.ndarray
    patches: np.ndarray
    notes: np.ndarray
    made: np.ndarray
    scratch: np.ndarray


def _allocate(sizes: Sizes, block: int, num_weights: int) -> Buffers:
    """Buffers for `block` records."""
    values, grads, patches, notes = (
        np.empty(size * block, np.float32)
        for size in (sizes.values, sizes.grads, sizes.patches, sizes.notes)
    )
    made = np.empty(sizes.made * block or num_weights, np.float32)
    scratch = np.empty(sizes.scratch + sizes.passed * block, np.float32)
    return Buffers(values, grads, patches, notes, made, scratch)


class Program:
    """A lowered net, bound to the net's weights. Made by `Program.of`.

    From then on all weights lie in `flat`, of which the net's parameters are views: an optimizer
    over `flat` trains the net.

    Attributes:
        flat: all weights, one parameter.
        parameters: of the net, in the order in which they lie there.
    """

    def __init__(
        self, plan: Plan, parameters: list[nn.Parameter], sizes: Sizes, orders: Orders | None
    ) -> None:
        self.parameters = parameters
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self._weights = self.flat.data.numpy()
        self._plan = plan
        self._sizes = sizes
        self._orders = orders
        sizes_p = [p.numel() for p in parameters]
        for p, view in zip(parameters, self.flat.data.split(sizes_p), strict=True):
            p.data = view.view(p.shape)
        numbers = sizes.values + sizes.grads + sizes.patches + sizes.notes + sizes.made
        self._most_block = min(max(WORKSPACE // (4 * numbers), 1), MOST_RECORDS)
        self._block = self._most_block
        self._buffers: Buffers | None = None

    @classmethod
    def of(cls, model: nn.Module, inputs: Shape) -> "Program | None":
        """Lower a sequential float32 net on the CPU, or None if the kernels cannot do it.

        Args:
            inputs: shape of one record.
        """
        if type(model) is not nn.Sequential:
            return None
        for layouts in (PLANES, LAST):
            graph = Graph(LOWERINGS | layouts, inputs)
            try:
                out = graph.lower(model, Value(0, inputs))
            except Unknown:
                continue
            parameters = graph.parameters
            untied = len(set(map(id, parameters))) == len(parameters)
            if len(out.shape) == 1 and out.order is None and parameters and untied:
                plan, sizes = graph.finish()
                return cls(plan, parameters, sizes, graph.orders())
        return None

    def hold_sums(self, num_records: float) -> float:
        """Take blocks small enough for sums over batches of about so many records.

        Returns:
            What summing up in float32 adds to a record's influence, as a share of the clip.
        """
        block = self._most_block
        while block > 1 and sum_share(num_records, block) > MOST_SUM_SHARE:
            block //= 2
        if block != self._block:
            self._block, self._buffers = block, None
        return sum_share(num_records, block)

    def logits(self, x: Tensor) -> Tensor:
        """Outputs [B, O] for the records `x` [B, ...], float32. Any thread may ask."""
        values, _, patches, notes, _, scratch = _allocate(self._sizes, self._block, len(self.flat))
        outputs = kernels.logits(
            self._plan, self._placed()[0], _flat_records(x), self._block, values, patches, notes,
            scratch,
        )  # fmt: skip
        return torch.from_numpy(outputs)

    def add_clipped_sum(self, x: Tensor, y: Tensor, clip: float, total: Tensor) -> float:
        """Add the clipped gradients of softmax cross-entropy, one for each record, to `total`.

        Args:
            x: [B, ...] float32.
            y: labels [B], int64.
            clip: greatest norm of a record's gradient.
            total: float64, as `flat`.

        Returns:
            The sum of the losses; it is not private.
        """
        if self._buffers is None:
            self._buffers = _allocate(self._sizes, self._block, len(self.flat))
        numbers, orders = total.numpy(), self._orders
        placed = numbers if orders is None else np.zeros_like(numbers)
        loss = kernels.add_clipped_sum(
            self._plan, *self._placed(), _flat_records(x), y.numpy(), clip, self._block,
            *self._buffers, placed,
        )  # fmt: skip
        if orders is not None:
            numbers[orders.forward] += placed
        return loss

    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights as the kernels want them, in the forward and in the backward pass."""
        if self._orders is None:
            return self._weights, self._weights
        return self._weights[self._orders.forward], self._weights[self._orders.backward]


def _flat_records(x: Tensor) -> np.ndarray:
    return x.reshape(len(x), -1).contiguous().numpy()
