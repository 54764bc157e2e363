"""A torch model as a network of loop nests: run once on meta tensors, and every function noted.

Works on modules and functions alike (`nn.Conv2d`, `F.conv2d`, `x + y`), since torch reports every
call to a function mode. Views cost nothing and are seen through. No weight is read: the model may
be of any size, and its parameters may be on any device.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clients.chip.workloads.workload import Layer, Nest, Network
from privacy.errors import ModelError

POOLS = {
    "max_pool1d",
    "max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
}
ADDITIONS = {"add", "__add__", "__radd__", "add_", "__iadd__", "sub", "mul", "__mul__", "cat"}
VIEWS = {
    *("flatten", "view", "reshape", "unsqueeze", "squeeze", "permute", "transpose", "contiguous"),
    *("detach", "dropout", "to", "float", "expand", "__getitem__", "chunk", "split", "type_as"),
    *("view_as", "t", "clone"),
}
FUSED = {
    *("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "tanh", "sigmoid", "square", "gelu"),
    *("silu", "hardswish"),
}
UNKNOWN_PRODUCTS = {
    *("conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "bmm", "mm"),
    *("__matmul__", "einsum", "scaled_dot_product_attention", "baddbmm", "addmm"),
}


class _Recorder(TorchFunctionMode):
    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.origin: dict[int, int] = {id(x): -1}  # which layer made a tensor
        self.alive: list[Tensor] = [x]  # an id names one tensor only while that tensor lives
        self.names = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if isinstance(out, Tensor):
            self._note(name, args, kwargs or {}, out)
        elif isinstance(out, (tuple, list)):
            for part in out:
                if isinstance(part, Tensor):
                    self._note(name, args, kwargs or {}, part)
        return out

    def _note(self, name: str, args: tuple, kwargs: dict, out: Tensor) -> None:
        tensors = [a for a in _flat(args) if isinstance(a, Tensor)]
        sources = tuple(dict.fromkeys(self.origin[id(t)] for t in tensors if id(t) in self.origin))
        if not sources or (id(out) in self.origin and name not in FUSED):
            return
        self.alive.append(out)
        if name in VIEWS or not out.is_floating_point():
            self.origin[id(out)] = sources[0]
            return
        if name in UNKNOWN_PRODUCTS:
            raise ModelError(
                f"{name}: its loops are not modelled; use convolutions and dense layers"
            )
        size = math.prod(out.shape)
        label = name.strip("_")
        if name in ("conv1d", "conv2d"):
            weight, nest = args[1], _convolution(args, kwargs, out)
            bias = (args[2] if len(args) > 2 else kwargs.get("bias")) is not None
            label = f"conv {self.names.get(id(weight), '')}".strip()
            self._append(
                Layer(label, "conv", size, sources, nest, nest.filters * nest.groups * bias), out
            )
        elif name == "linear":
            weight = args[1]
            bias = (args[2] if len(args) > 2 else kwargs.get("bias")) is not None
            positions = size // weight.shape[0]
            nest = Nest(1, weight.shape[0], weight.shape[1], positions, 1)
            label = f"dense {self.names.get(id(weight), '')}"
            self._append(Layer(label, "dense", size, sources, nest, weight.shape[0] * bias), out)
        elif name in POOLS:
            self._append(Layer(f"{label}{len(self.layers)}", "pool", size, sources), out)
        elif name in ADDITIONS and len(sources) > 1:
            self._append(Layer(f"{label}{len(self.layers)}", "add", size, sources), out)
        elif name in FUSED:
            self.origin[id(out)] = sources[0]
        else:
            self._append(Layer(f"{label}{len(self.layers)}", "elementwise", size, sources), out)

    def _append(self, layer: Layer, out: Tensor) -> None:
        self.layers.append(layer)
        self.origin[id(out)] = len(self.layers) - 1


def trace(model: nn.Module, shape: tuple[int, ...], name: str = "") -> Network:
    """The network that `model` computes on one record.

    Args:
        shape: of one record, without the batch.

    Raises:
        ModelError: it holds a product whose loops are not modelled.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    x = torch.empty(1, *shape, device="meta")
    recorder = _Recorder(shadow, x)
    with torch.no_grad(), recorder:
        shadow(x)
    if not any(layer.nest for layer in recorder.layers):
        raise ModelError(f"{name or type(model).__name__}: no convolution and no dense layer in it")
    return Network(name or type(model).__name__.lower(), math.prod(shape), tuple(recorder.layers))


def _convolution(args: tuple, kwargs: dict, out: Tensor) -> Nest:
    x, weight = args[0], args[1]
    given = (
        dict(zip(("bias", "stride", "padding", "dilation", "groups"), args[2:], strict=False))
        | kwargs
    )
    stride, dilation = _pair(given.get("stride", 1)), _pair(given.get("dilation", 1))
    padding = given.get("padding", 0)
    groups = int(given.get("groups", 1))
    flat = weight.dim() == 3  # one-dimensional: a single row
    kernel = (1, weight.shape[2]) if flat else tuple(weight.shape[2:])
    sides = (1, x.shape[-1]) if flat else tuple(x.shape[-2:])
    rows, columns = (1, out.shape[-1]) if flat else tuple(out.shape[-2:])
    if flat:
        stride, dilation = (1, stride[-1]), (1, dilation[-1])
    if isinstance(padding, str):
        whole = [
            d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)
        ]
        before = [total // 2 for total in whole]
    else:
        before = [0, _pair(padding)[-1]] if flat else list(_pair(padding))
    spans = [
        (count - 1) * s + (k - 1) * d + 1
        for count, s, k, d in zip((rows, columns), stride, kernel, dilation, strict=True)
    ]
    zeros = [
        span - min(side, span - pad) for span, side, pad in zip(spans, sides, before, strict=True)
    ]
    return Nest(
        batch=1,
        filters=weight.shape[0] // groups,
        channels=weight.shape[1],
        rows=rows,
        columns=columns,
        kernel_rows=kernel[0],
        kernel_columns=kernel[1],
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=(zeros[0], zeros[1]),
    )


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    values = tuple(int(v) for v in value)
    return (values[0], values[-1])


def _flat(values: Any) -> list:
    found = []
    for value in values:
        found += _flat(value) if isinstance(value, (tuple, list)) else [value]
    return found
