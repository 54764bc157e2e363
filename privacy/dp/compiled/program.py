"""A lowered net, bound to the net's weights."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from privacy.dp.accounting.parts import part
from privacy.dp.compiled.graph import Graph, Sizes, Unknown, Value
from privacy.dp.compiled.last import LAST
from privacy.dp.compiled.operation import Orders, Shape
from privacy.dp.compiled.planes import LOWERINGS, PLANES
from privacy.dp.grid import sum_share
from privacy.dp.kernels import abreast, losses, walk
from privacy.dp.kernels.plan import CONV, KIND, MEAN, OUT, OUT_GRAD, OUT_SIZE, PAD, POOL, Plan
from privacy.dp.kernels.tiles import LANES
from privacy.dp.rules import Loss, softmax_cross_entropy
from privacy.errors import ModelError

WORKSPACE = 1 << 20  # bytes of activations and gradients at a time: they stay in the cache
MOST_RECORDS = 256  # at a time
MOST_SUM_SHARE = 2.0**-6  # of the clip, for sums in float32
ABREAST = (CONV, PAD, POOL, MEAN)  # images whose records are walked `LANES` at a time

# Losses that the kernels know: from a block's outputs [b, O] and targets its sum; into the third
# array [b, O] the gradients of the outputs.
LOSSES: dict[Loss, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    softmax_cross_entropy: losses.softmax
}

part("scipy.linalg", "cython_blas")  # numba's BLAS, or the limit below would miss it

# One client to a thread, so one thread to a matrix product; torch's own has one by
# clients.node.app.
threadpool_limits(limits=1, user_api="blas")


class Buffers(NamedTuple):
    """What the kernels write, flat; see privacy.dp.kernels."""

    values: np.ndarray
    grads: np.ndarray
    notes: np.ndarray
    made: np.ndarray
    scratch: np.ndarray


def _allocate(sizes: Sizes, block: int) -> Buffers:
    """Buffers for `block` records."""
    values, grads, notes, made = (
        np.empty(size * block, np.float32)
        for size in (sizes.values, sizes.grads, sizes.notes, sizes.made)
    )
    scratch = np.empty(sizes.scratch + sizes.passed * block, np.float32)
    return Buffers(values, grads, notes, made, scratch)


def lacking(model: nn.Module, inputs: Shape) -> str:
    """Why a net has no program, in a line; empty if it has one.

    Args:
        inputs: shape of one record.
    """
    lowered = _lowered(model, inputs)
    return lowered if isinstance(lowered, str) else ""


def _lowered(
    model: nn.Module, inputs: Shape
) -> tuple[list[nn.Parameter], Plan, Sizes, Orders | None] | str:
    """What a program is made of, or why there is none."""
    if type(model) is not nn.Sequential:
        return f"{type(model).__name__} is no chain of layers"
    why = ""
    for layouts in (PLANES, LAST):
        graph = Graph(LOWERINGS | layouts, inputs)
        try:
            out = graph.lower(model, Value(0, inputs))
        except Unknown as unknown:
            why = str(unknown)
            continue
        parameters = graph.parameters
        if not parameters:
            why = "nothing is trained"
        elif len(set(map(id, parameters))) < len(parameters):
            why = "a layer is used twice"
        elif len(out.shape) > 1 or out.order is not None:
            why = f"outputs of {list(out.shape)} have no kernel for a loss"
        else:
            return parameters, *graph.finish(), graph.orders()
    return why


class Program:
    """A lowered net, bound to the net's weights. Made by `Program.of`.

    From then on all weights lie in `flat`, of which the net's parameters are views: an optimizer
    over `flat` trains the net.

    Attributes:
        flat: all weights, one parameter.
        parameters: of the net, in the order in which they lie there.
    """

    def __init__(
        self, parameters: list[nn.Parameter], plan: Plan, sizes: Sizes, orders: Orders | None
    ) -> None:
        self.parameters = parameters
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self._weights = self.flat.data.numpy()
        self._plan = plan
        self._sizes = sizes
        self._orders = orders
        self._num_outputs = int(plan[-1, OUT_SIZE])
        sizes_p = [p.numel() for p in parameters]
        for p, view in zip(parameters, self.flat.data.split(sizes_p), strict=True):
            p.data = view.view(p.shape)
        numbers = sizes.values + sizes.grads + sizes.notes + sizes.made
        self._most_block = min(max(WORKSPACE // (4 * numbers), 1), MOST_RECORDS)
        self._abreast = bool(np.isin(plan[:, KIND], ABREAST).any())
        if self._abreast:
            self._most_block = LANES
        self._block = self._most_block
        self._buffers: Buffers | None = None
        self._trained = np.empty(0)  # all

    @classmethod
    def of(cls, model: nn.Module, inputs: Shape) -> "Program | None":
        """Lower a sequential float32 net on the CPU, or None if the kernels cannot do it.

        Args:
            inputs: shape of one record.
        """
        lowered = _lowered(model, inputs)
        return None if isinstance(lowered, str) else cls(*lowered)

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

    def prune(self, kept: Tensor | None) -> None:
        """Leave pruned weights out of norms and sums.

        Args:
            kept: like `flat`, 1 where it is trained and 0 where it is pruned; None: all is trained.
        """
        self._trained = np.empty(0) if kept is None else kept.double().numpy()

    def logits(self, x: Tensor) -> Tensor:
        """Outputs [B, O] for the records `x` [B, ...], float32. Any thread may ask."""
        buffers = self._room()
        outputs = np.empty((len(x), self._num_outputs), np.float32)
        weights, records = self._placed()[0], _flat_records(x)
        for start in range(0, len(x), self._block):
            part = records[start : start + self._block]
            self._forward(weights, part, buffers)
            outputs[start : start + self._block] = self._outputs(buffers.values, len(part), OUT)
        return torch.from_numpy(outputs)

    def add_clipped_sum(
        self, x: Tensor, y: Tensor, clip: float, total: Tensor, loss: Loss = softmax_cross_entropy
    ) -> float:
        """Add the clipped gradients of a loss, one for each record, to `total`.

        Args:
            x: [B, ...] float32.
            y: labels [B], int64; of other losses than softmax cross-entropy targets [B, O],
                float32.
            clip: greatest norm of a record's gradient.
            total: float64, as `flat`.
            loss: a key of `LOSSES`.

        Returns:
            The sum of the losses; it is not private.

        Raises:
            ModelError: the targets have another shape, or are no labels of the outputs.
        """
        self._require_targets(len(x), y, loss)
        if self._buffers is None:
            self._buffers = self._room()
        buffers, (weights, turned) = self._buffers, self._placed()
        records, targets = _flat_records(x), y.contiguous().numpy()
        numbers, orders, sum_of_losses = total.numpy(), self._orders, 0.0
        trained = self._trained
        if orders is not None and len(trained):
            trained = trained[orders.forward]
        placed = numbers if orders is None else np.zeros_like(numbers)
        for start in range(0, len(x), self._block):
            part = records[start : start + self._block]
            self._forward(weights, part, buffers)
            g = np.empty((len(part), self._num_outputs), np.float32)
            outputs = np.ascontiguousarray(self._outputs(buffers.values, len(part), OUT))
            sum_of_losses += LOSSES[loss](outputs, targets[start : start + self._block], g)
            self._give_back(g, buffers)
            self._add(weights, turned, clip, len(part), buffers, trained, placed)
        if orders is not None:
            numbers[orders.forward] += placed
        if len(self._trained):
            numbers *= self._trained
        return sum_of_losses

    def _room(self) -> Buffers:
        return _allocate(self._sizes, LANES if self._abreast else self._block)

    def _forward(self, weights: np.ndarray, x: np.ndarray, buffers: Buffers) -> None:
        values, _, notes, _, scratch = buffers
        if self._abreast:
            abreast.forward(self._plan, weights, x, values, notes)
        else:
            walk.forward(self._plan, weights, x, self._block, values, notes, scratch)

    def _add(
        self, weights: np.ndarray, turned: np.ndarray, clip: float, b: int, buffers: Buffers,
        trained: np.ndarray, total: np.ndarray,
    ) -> None:  # fmt: skip
        """Add the clipped gradients of b records, those of whose outputs are there."""
        plan, (values, grads, notes, made, scratch) = self._plan, buffers
        if self._abreast:
            squares = np.empty(LANES)
            abreast.backward(plan, weights, values, grads, notes, made, scratch, trained, squares)
            abreast.add_clipped(
                plan, clip, b, values, grads, made, scratch, trained, squares, total
            )
            return
        block = self._block
        walk.backward(plan, weights, turned, block, b, values, grads, notes, made, scratch)
        walk.add_clipped(
            plan, len(weights), clip, block, b, values, grads, made, scratch, trained, total
        )

    def _outputs(self, buffer: np.ndarray, b: int, column: int) -> np.ndarray:
        """The last operation's outputs for b records, or their gradients, [b, O]."""
        num, at = self._num_outputs, self._plan[-1, column]
        if self._abreast:
            return buffer[at * LANES : (at + num) * LANES].reshape(num, LANES).T[:b]
        return buffer[at * self._block :][: b * num].reshape(b, num)

    def _give_back(self, g: np.ndarray, buffers: Buffers) -> None:
        """Put the gradients of b records' outputs where they are walked back from."""
        if self._abreast:
            self._outputs(buffers.grads, LANES, OUT_GRAD)[:] = 0
        self._outputs(buffers.grads, len(g), OUT_GRAD)[:] = g

    def _require_targets(self, num: int, y: Tensor, loss: Loss) -> None:
        """What the kernels would read without a look at its shape, or a label as an index."""
        classes = loss is softmax_cross_entropy
        shape, kind = (
            ((num,), torch.int64) if classes else ((num, self._num_outputs), torch.float32)
        )
        if tuple(y.shape) != shape or y.dtype != kind:
            raise ModelError(
                f"targets are {list(y.shape)} of {y.dtype}, and the loss reads {list(shape)} of "
                f"{kind}"
            )
        if classes and num and not 0 <= int(y.min()) <= int(y.max()) < self._num_outputs:
            raise ModelError(f"a label is none of the {self._num_outputs} that the model puts out")

    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights as the kernels want them, in the forward and in the backward pass."""
        if self._orders is None:
            return self._weights, self._weights
        return self._weights[self._orders.forward], self._weights[self._orders.backward]


def _flat_records(x: Tensor) -> np.ndarray:
    return x.reshape(len(x), -1).contiguous().numpy()
