"""The net of convolutions, norms and pools that a microcontroller trains, out of a torch model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from torch import nn

from clients.firmware.net import Dense
from clients.layers import AddChannel, MaxPool2d, Recurrent, Residual
from privacy.errors import ModelError

Shape = tuple[int, int, int]  # channels, height, width; a sequence has a height of 1
CONV, NORM, MOST, MEAN, ADD, GRU = "conv", "norm", "most", "mean", "add", "gru"
FLOATS: Mapping[type, type] = {one: one for one in (nn.Linear, nn.Conv1d, nn.Conv2d)}


@dataclass(frozen=True)
class Layer:
    """One of a net's layers; a dense one is a convolution of everything.

    Attributes:
        kind: CONV, NORM (of groups), MOST and MEAN (pools), ADD (of two), GRU (over a sequence).
        source, other: the layers that it reads; -1 is the record.
        inputs, outputs: their shapes.
        kernel, stride, padding: height and width. `groups`: of channels.
        rectified: max(0, s) of what it gives.
        eps: of a norm.
    """

    kind: str
    source: int
    inputs: Shape
    outputs: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    other: int = -1
    rectified: bool = False
    eps: float = 0.0

    @property
    def row(self) -> int:
        """Weights of one output channel, without its bias."""
        if self.kind == CONV:
            return self.inputs[0] // self.groups * prod(self.kernel)
        if self.kind == GRU:  # of three gates: inputs, states, two biases, of which one is counted
            return 3 * (self.inputs[0] + self.outputs[0]) + 5
        return 1 if self.kind == NORM else 0

    @property
    def num_weights(self) -> int:
        """Biases included."""
        return (self.row + 1) * self.outputs[0] if self.row else 0

    @property
    def num_gates(self) -> int:
        """Gradients at what gates add up, all times together."""
        return 4 * prod(self.outputs) if self.kind == GRU else 0

    def told(self) -> str:
        """In an error."""
        return f"{self.kind} {'x'.join(map(str, self.inputs))}"


Plan = tuple[Layer, ...]


def plan_of(
    model: nn.Module,
    shape: tuple[int, ...],
    trained: Mapping[type, type] = FLOATS,
    rounding: tuple[type, ...] = (),
) -> tuple[Plan, tuple[Dense, ...]]:
    """The layers of a net, and the weights of those that have some.

    Args:
        shape: of a record.
        trained: what stands for dense layers and convolutions in the model's arithmetic, and for
            which. `rounding`: what stands before and behind them, and is told by `Words`.

    Raises:
        ModelError: names the first layer that has no C.
    """
    found = _Builder(shape, trained, rounding)
    found.add(model)
    if not found.layers or found.layers[-1].outputs[1:] != (1, 1):
        raise ModelError("--to c: the last layer gives no classes; end [model] in a dense layer")
    if found.layers[-1].rectified:
        raise ModelError("--to c: a ReLU behind the last layer has no C yet; leave it out")
    return tuple(found.layers), tuple(found.weights)


class _Builder:
    def __init__(
        self, shape: tuple[int, ...], trained: Mapping[type, type], rounding: tuple[type, ...]
    ) -> None:
        self._trained_as, self._told = trained, (nn.Identity, *rounding)
        self.layers: list[Layer] = []
        self.weights: list[Dense] = []
        self.last = self.shared = -1  # what both arms of a sum read stays as it is
        self.shape = _three(shape)

    def add(self, module: nn.Module) -> None:
        if type(module) is nn.Sequential:
            for child in module:
                self.add(child)
        elif type(module) is nn.Flatten:
            c, h, w = self.shape
            self.shape = (c * h * w, 1, 1) if module.end_dim == -1 else (c * h, 1, w)
        elif type(module) is AddChannel:
            c, h, w = self.shape
            self.shape = (1, c * h, w) if w > 1 else (1, 1, c)
        elif type(module) in self._told:
            pass
        elif type(module) is nn.ReLU:
            self._rectify()
        elif type(module) is Residual:
            self._residual(module)
        elif type(module) is Recurrent and type(module.cells) is nn.GRU:
            self._recurrent(module.cells)
        else:
            self._layer(module)

    def _rectify(self) -> None:
        if self.last <= self.shared:
            raise ModelError("--to c: a ReLU on a record, or on what others read, has no C yet")
        self.layers[-1] = replace(self.layers[-1], rectified=True)

    def _residual(self, module: Residual) -> None:
        start, shape = self.last, self.shape
        self.shared = max(self.shared, start)
        self.add(module.body)
        body, there = self.last, self.shape
        self.last, self.shape = start, shape
        self.add(module.shortcut)
        if self.shape != there:
            raise ModelError(f"--to c: a sum of {there} and {self.shape} has no C")
        self._append(Layer(ADD, body, self.shape, self.shape, other=self.last))

    def _recurrent(self, cells: nn.GRU) -> None:
        """Layer by layer, then the mean over time."""
        if self._trained_as is not FLOATS:
            raise ModelError("--to c: GRU: of floats in a net of words has no C")
        if cells.bidirectional or not cells.bias or self.shape[1] != 1:
            raise ModelError("--to c: GRU: of two directions, or without biases, has no C")
        for number in range(cells.num_layers):
            (c, _, length), size = self.shape, cells.hidden_size
            parts = [
                getattr(cells, f"{name}_l{number}").detach().numpy().astype(np.float32).ravel()
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            flat = np.concatenate(parts)
            self.weights.append(Dense(flat[:-size].reshape(size, -1), flat[-size:]))
            self._append(Layer(GRU, self.last, (c, 1, length), (size, 1, length)))
        self._append(Layer(MEAN, self.last, self.shape, (size, 1, 1), (1, length), (1, 1)))

    def _append(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.last, self.shape = len(self.layers) - 1, layer.outputs

    def _layer(self, module: Any) -> None:
        c, h, w = self.shape
        kind = self._trained_as.get(type(module), type(module))
        if kind in FLOATS and type(module) in FLOATS and FLOATS is not self._trained_as:
            raise ModelError(
                f"--to c: layer {len(self.layers) + 1}, {kind.__name__}: of floats in a net of "
                "words has no C"
            )
        if kind is nn.Linear:
            self.shape = (c * h * w, 1, 1)
            self._trained(module, CONV, (module.out_features, 1, 1))
        elif kind in (nn.Conv1d, nn.Conv2d):
            if any(d != 1 for d in module.dilation) or module.padding_mode != "zeros":
                raise ModelError(f"--to c: {kind.__name__}: dilated or not padded with zeros")
            if isinstance(module.padding, str):
                raise ModelError(f"--to c: {kind.__name__}: padding = {module.padding!r}: has no C")
            kernel, stride, padding = map(
                _pair, (module.kernel_size, module.stride, module.padding), ((1, 1, 0))
            )
            out = _after(self.shape, module.out_channels, kernel, stride, padding)
            self._trained(
                module, CONV, out, kernel=kernel, stride=stride, padding=padding,
                groups=module.groups,
            )  # fmt: skip
        elif kind is nn.GroupNorm and module.affine:
            self._trained(module, NORM, self.shape, groups=module.num_groups, eps=module.eps)
        elif kind in (nn.MaxPool1d, nn.MaxPool2d, MaxPool2d, nn.AvgPool1d, nn.AvgPool2d):
            size = module.size if kind is MaxPool2d else module.kernel_size
            if _any(getattr(module, "padding", 0)) or getattr(module, "ceil_mode", False):
                raise ModelError(f"--to c: {kind.__name__} with padding or ceil_mode has no C yet")
            flat = kind in (nn.MaxPool1d, nn.AvgPool1d)
            kernel, stride = (_square(one, flat) for one in (size, module.stride))
            pool = MEAN if "Avg" in kind.__name__ else MOST
            out = _after(self.shape, c, kernel, stride, (0, 0))
            self._append(Layer(pool, self.last, self.shape, out, kernel, stride))
        elif kind is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1)):
            self._append(Layer(MEAN, self.last, self.shape, (c, 1, 1), (h, w), (1, 1)))
        else:
            raise ModelError(
                f"--to c: layer {len(self.layers) + 1}, {kind.__name__}: has no C yet; dense "
                "layers, convolutions, GroupNorm, ReLU, pools, residual sums and GRU have"
            )

    def _trained(self, module: Any, kind: str, outputs: Shape, **more: Any) -> None:
        if module.bias is None:
            raise ModelError(f"--to c: {type(module).__name__} without biases has no C yet")
        weights = module.weight.detach().numpy().astype(np.float32)
        self.weights.append(
            Dense(
                weights.reshape(len(weights), -1), module.bias.detach().numpy().astype(np.float32)
            )
        )
        self._append(Layer(kind, self.last, self.shape, outputs, **more))


def _three(shape: tuple[int, ...]) -> Shape:
    if len(shape) == 3:
        return (shape[0], shape[1], shape[2])
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (prod(shape), 1, 1)


def _pair(given: Any, missing: int) -> tuple[int, int]:
    return (missing, given[0]) if len(given) == 1 else (given[0], given[1])


def _square(given: Any, flat: bool) -> tuple[int, int]:
    one = given if isinstance(given, tuple) else (given,) * 2
    return (1, one[-1]) if flat else (one[0], one[1])


def _any(given: Any) -> bool:
    return any(given) if isinstance(given, tuple) else bool(given)


def _after(
    shape: Shape, channels: int, kernel: tuple[int, int], stride: tuple[int, int],
    padding: tuple[int, int],
) -> Shape:  # fmt: skip
    sides = [
        (n + 2 * p - k) // s + 1
        for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    ]
    return (channels, sides[0], sides[1])
