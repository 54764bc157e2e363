"""A net as a plan for the compiled kernels: what a private step needs, without autograd.

`Program.of` lowers a net layer by layer; a new net of known layers is fast at once, and one with
another layer gets none and trains through `privacy.dp.bookkeeping`'s taps. The kernels' oracle is
that path, and Opacus.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np
import scipy.linalg  # noqa: F401  # brings the BLAS of numba, or the limit below would miss it
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from privacy.dp import kernels
from privacy.dp.grid import sum_share
from privacy.dp.kernels import CONV, DENSE, MEAN, NUM_COLUMNS, PAD, POOL, RELU, TANH

Shape = tuple[int, ...]

WORKSPACE = 1 << 20  # bytes of activations, gradients and patches at a time: they stay in the cache
MOST_RECORDS = 256  # at a time
MOST_SUM_SHARE = 2.0**-6  # of the clip, for sums in float32


# One client to a thread, so one thread to a matrix product; torch's own has one by
# clients.node.app.
threadpool_limits(limits=1, user_api="blas")


class Operation(NamedTuple):
    """What a layer is to the kernels: the shape it gives, and its row of the plan.

    An operation of no kind only changes the shape. `numbers` are columns of the plan by name.
    """

    kind: int | None
    shape: Shape
    numbers: dict[int, int] | None = None
    aux_size: int = 0


# The operations of a layer on records of a shape; None if the kernels cannot do it.
Lowering = Callable[[nn.Module, Shape], list[Operation] | None]


def reshape(*shape: int) -> list[Operation]:
    """The same numbers in another shape."""
    return [Operation(None, shape)]


def each(kind: int) -> Lowering:
    """A function of each element."""
    return lambda _, shape: [Operation(kind, shape)]


def pooling(shape: Shape) -> list[Operation] | None:
    """Max-pooling with 2x2 windows and stride 1 of `shape` [C, H, W]."""
    if len(shape) != 3 or min(shape[1:]) < 2:
        return None
    out = (shape[0], shape[1] - 1, shape[2] - 1)
    numbers = {kernels.HEIGHT: shape[1], kernels.WIDTH: shape[2]}
    return [Operation(POOL, out, numbers, prod(shape) + shape[2] + 1)]


def _dense(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.Linear)
    return [Operation(DENSE, (layer.out_features,))] if shape == (layer.in_features,) else None


def _conv(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.Conv2d)
    plain = layer.dilation == (1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    if not plain or isinstance(layer.padding, str) or len(shape) != 3:
        return None
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel_size, layer.stride, layer.padding
    padded = (shape[0], shape[1] + 2 * ph, shape[2] + 2 * pw)
    height, width = (padded[1] - kh) // sh + 1, (padded[2] - kw) // sw + 1
    if shape[0] != layer.in_channels or min(height, width) < 1:
        return None
    border = _geometry(shape, (kh, kw), (sh, sw), (ph, pw), padded[1:])
    windows = _geometry(padded, (kh, kw), (sh, sw), (0, 0), (height, width))
    num_patch_numbers = height * width * shape[0] * kh * kw
    conv = Operation(CONV, (layer.out_channels, height, width), windows, num_patch_numbers)
    return [conv] if padded == shape else [Operation(PAD, padded, border), conv]


def _mean(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.AvgPool2d)
    kernel, stride, padding = (
        (size, size) if isinstance(size, int) else tuple(size)
        for size in (layer.kernel_size, layer.stride, layer.padding)
    )
    plain = kernel == stride and padding == (0, 0) and not layer.ceil_mode
    if not plain or layer.divisor_override or len(shape) not in (2, 3):
        return None
    channels, height, width = (1, *shape)[-3:]
    out = (height // kernel[0], width // kernel[1])
    if min(out) < 1:
        return None
    numbers = _geometry((channels, height, width), kernel, stride, padding, out)
    return [Operation(MEAN, (*shape[:-2], *out), numbers)]


def _geometry(*parts: Shape) -> dict[int, int]:
    columns = range(kernels.CHANNELS, NUM_COLUMNS)
    return dict(zip(columns, (number for part in parts for number in part), strict=True))


def _flatten(layer: nn.Module, shape: Shape) -> list[Operation] | None:
    assert isinstance(layer, nn.Flatten)
    return reshape(prod(shape)) if layer.start_dim == 1 and layer.end_dim == -1 else None


# By exact type.
LOWERINGS: dict[type[nn.Module], Lowering] = {
    nn.Linear: _dense,
    nn.Conv2d: _conv,
    nn.AvgPool2d: _mean,
    nn.ReLU: each(RELU),
    nn.Tanh: each(TANH),
    nn.Flatten: _flatten,
    nn.Identity: lambda _, shape: reshape(*shape),
}


class Buffers(NamedTuple):
    """What the kernels write, flat; see privacy.dp.kernels."""

    values: np.ndarray
    grads: np.ndarray
    patches: np.ndarray
    places: np.ndarray
    scratch: np.ndarray


class Sizes(NamedTuple):
    """Numbers a record needs in each buffer; those in `scratch` are for all."""

    values: int
    patches: int
    places: int
    scratch: int

    def allocate(self, block: int) -> Buffers:
        """Buffers for `block` records."""
        values, grads, patches, places = (
            np.empty(size * block, np.float32)
            for size in (self.values, self.values, self.patches, self.places)
        )
        return Buffers(values, grads, patches, places, np.empty(self.scratch, np.float32))


class Program:
    """A lowered net, bound to the net's weights. Made by `Program.of`.

    From then on all weights lie in `flat`, of which the net's parameters are views: an optimizer
    over `flat` trains the net.

    Attributes:
        flat: all weights, one parameter.
        parameters: of the net, in the order in which they lie there.
    """

    def __init__(self, plan: kernels.Plan, parameters: list[nn.Parameter], sizes: Sizes) -> None:
        self.parameters = parameters
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self._weights = self.flat.data.numpy()
        self._plan = plan
        self._sizes = sizes
        sizes_p = [p.numel() for p in parameters]
        for p, view in zip(parameters, self.flat.data.split(sizes_p), strict=True):
            p.data = view.view(p.shape)
        numbers = 2 * sizes.values + sizes.patches + sizes.places
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
        rows: list[np.ndarray] = []
        parameters: list[nn.Parameter] = []
        shape, values, num_weights = inputs, prod(inputs), 0
        aux = {CONV: 0, POOL: 0}
        for layer in model:
            lower = LOWERINGS.get(type(layer))
            operations = lower(layer, shape) if lower else None
            own = list(layer.parameters())
            if operations is None or not all(_is_plain(p) for p in own):
                return None
            for kind, out, numbers, aux_size in operations:
                if kind is not None:
                    row = np.zeros(NUM_COLUMNS, np.int64)
                    row[kernels.KIND], row[kernels.PASS_ON] = kind, bool(parameters)
                    row[kernels.IN], row[kernels.IN_SIZE] = values - prod(shape), prod(shape)
                    row[kernels.OUT], row[kernels.OUT_SIZE] = values, prod(out)
                    for column, number in (numbers or {}).items():
                        row[column] = number
                    if kind in (DENSE, CONV):
                        row[kernels.WEIGHT] = num_weights
                        row[kernels.BIAS] = num_weights + own[0].numel() if len(own) == 2 else -1
                    if kind in aux:
                        row[kernels.AUX] = aux[kind]
                        aux[kind] += aux_size
                    rows.append(row)
                    values += prod(out)
                shape = out
            parameters += own
            num_weights += sum(p.numel() for p in own)
        if len(shape) != 1 or not parameters or len(set(map(id, parameters))) < len(parameters):
            return None
        largest = max(int(row[kernels.OUT_SIZE]) + _num_patch_numbers(row) for row in rows)
        scratch = num_weights + largest
        return cls(np.array(rows), parameters, Sizes(values, aux[CONV], aux[POOL], scratch))

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
        values, _, patches, places, scratch = self._sizes.allocate(self._block)
        outputs = kernels.logits(
            self._plan, self._weights, _flat_records(x), self._block, values, patches,
            places, scratch,
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
            self._buffers = self._sizes.allocate(self._block)
        return kernels.add_clipped_sum(
            self._plan, self._weights, _flat_records(x), y.numpy(), clip, self._block,
            *self._buffers, total.numpy(),
        )  # fmt: skip


def _flat_records(x: Tensor) -> np.ndarray:
    return x.reshape(len(x), -1).contiguous().numpy()


def _is_plain(p: nn.Parameter) -> bool:
    return p.dtype == torch.float32 and p.device.type == "cpu" and p.requires_grad


def _num_patch_numbers(row: kernels.Plan) -> int:
    columns = (kernels.CHANNELS, kernels.KERNEL_H, kernels.KERNEL_W, kernels.OUT_H, kernels.OUT_W)
    return int(row[list(columns)].prod())
