"""ONNX's operations, as torch's."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from privacy.errors import ModelError


class Node:
    """An operation, and what it reads: `node[0]` is its first input.

    Shapes are held on the CPU, with their values, where a record may have none.
    """

    def __init__(self, node: Any, held: dict[str, Tensor], device: torch.device) -> None:
        from onnx import helper

        self.kind, self.device = node.op_type, device
        self._inputs = [held[name] if name else None for name in node.input]
        self._said = {one.name: helper.get_attribute_value(one) for one in node.attribute}

    def __getitem__(self, place: int) -> Tensor:
        found = self._inputs[place]
        assert found is not None
        return found

    def tensors(self) -> list[Tensor]:
        """All that it reads."""
        return [one for one in self._inputs if one is not None]

    def together(self) -> list[Tensor]:
        """The same, on one device: shapes alone stay on theirs."""
        found = self.tensors()
        one = self.device if any(t.device == self.device for t in found) else found[0].device
        return [t.to(one) for t in found]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An attribute."""
        return self._said.get(name, otherwise)

    def numbers(self, name: str, place: int) -> list[int] | None:
        """Whole numbers: an attribute, or since a later version of ONNX an input.

        Raises:
            ModelError: they depend on the record.
        """
        if name in self._said:
            return list(self._said[name])
        if place >= len(self._inputs) or self._inputs[place] is None:
            return None
        if self[place].is_meta:
            raise ModelError(f"{self.kind}: its {name} depend on the record")
        return [int(n) for n in self[place].ravel()]


def _pads(node: Node, sides: Sequence[int], size: Sequence[int]) -> list[int]:
    """Before each axis, then behind each: as it is said, or so that each stride gives one place.

    Args:
        sides: of what is read. `size`: of a window.
    """
    axes, how = len(size), node.get("auto_pad", b"NOTSET")
    if how == b"NOTSET":
        return list(node.get("pads") or [0] * 2 * axes)
    strides, dilations = (node.get(name) or [1] * axes for name in ("strides", "dilations"))
    if how == b"VALID":
        return [0] * 2 * axes
    need = [
        max(0, (-(-side // stride) - 1) * stride + (window - 1) * dilation + 1 - side)
        for side, stride, window, dilation in zip(sides, strides, size, dilations, strict=True)
    ]
    less, more = [n // 2 for n in need], [n - n // 2 for n in need]
    return less + more if how == b"SAME_UPPER" else more + less


def _padded(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    half = len(pads) // 2
    each = [n for axis in reversed(range(half)) for n in (pads[axis], pads[half + axis])]
    return F.pad(x, each, value=value) if any(pads) else x


def _convolve(node: Node) -> Tensor:
    x, weight = node[0], node[1]
    plain = node.kind == "Conv"
    bias = node[2] if plain and len(node.tensors()) > 2 else None
    axes = weight.dim() - 2
    pads = _pads(node, x.shape[2:], weight.shape[2:])
    even = pads[:axes] == pads[axes:]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return convolve(
        x if even else _padded(x, pads), weight, bias, node.get("strides", 1),
        pads[:axes] if even else 0, node.get("dilations", 1), node.get("group", 1),
    )  # fmt: skip


def _pool(node: Node) -> Tensor:
    size, strides, largest = node.get("kernel_shape"), node.get("strides"), node.kind == "MaxPool"
    apart, ceil = node.get("dilations") or [1] * len(size), bool(node.get("ceil_mode"))
    pads = _pads(node, node[0].shape[2:], size)
    x = _padded(node[0], pads, -math.inf if largest else 0.0)
    strides = strides or [1] * len(size)
    if largest:
        pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(size) - 1]
        return cast(Tensor, pool(x, size, strides, 0, apart, ceil))
    if any(n != 1 for n in apart):
        raise ModelError(f"AveragePool: dilations = {apart}: priced from no graph")
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(size) - 1]
    return cast(Tensor, pool(x, size, strides, 0, ceil))


def _gemm(node: Node) -> Tensor:
    a = node[0].T if node.get("transA") else node[0]
    b = node[1].T if node.get("transB") else node[1]
    return torch.addmm(node[2], a, b) if len(node.tensors()) > 2 else a @ b


REDUCTIONS: dict[str, Any] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
}


def _reduced(node: Node) -> Tensor:
    axes = node.numbers("axes", 1) or list(range(node[0].dim()))
    made: Tensor = REDUCTIONS[node.kind](node[0], axes, bool(node.get("keepdims", 1)))
    return made


def _slice(node: Node) -> Tensor:
    x, starts, ends = node[0], node.numbers("starts", 1), node.numbers("ends", 2)
    axes, steps = node.numbers("axes", 3), node.numbers("steps", 4)
    for i, (start, end) in enumerate(zip(starts or (), ends or (), strict=True)):
        cut = slice(start, end, steps[i] if steps else 1)
        axis = (axes[i] if axes else i) % x.dim()
        x = x[(*(slice(None),) * axis, cut)]
    return x


def _normed(node: Node) -> Tensor:
    x, epsilon = node[0], node.get("epsilon", 1e-5)
    if node.kind == "LayerNormalization":
        shape = x.shape[node.get("axis", -1) :]
        weight, bias = (*node.tensors()[1:], None)[:2]
        return F.layer_norm(x, shape, weight, bias, epsilon)
    if node.kind == "InstanceNormalization":
        return F.group_norm(x, x.shape[1], node[1], node[2], epsilon)
    return F.batch_norm(x, node[3], node[4], node[1], node[2], eps=epsilon)


def _unsqueezed(node: Node) -> Tensor:
    x = node[0]
    for axis in sorted(node.numbers("axes", 1) or ()):
        x = x.unsqueeze(axis)
    return x


def _squeezed(node: Node) -> Tensor:
    axes = node.numbers("axes", 1)
    return node[0].squeeze() if axes is None else node[0].squeeze(tuple(axes))


def _reshaped(node: Node) -> Tensor:
    sides = node.numbers("shape", 1) or []
    return node[0].reshape(tuple(node[0].shape[i] if n == 0 else n for i, n in enumerate(sides)))


def _gathered(node: Node) -> Tensor:
    x, indices = node.together()
    axis = node.get("axis", 0) % x.dim()
    found = x.index_select(axis, indices.reshape(-1).long())
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _filled(node: Node) -> Tensor:
    from onnx import numpy_helper

    value = node.get("value")
    number = 0.0 if value is None else float(numpy_helper.to_array(value).item())
    return torch.full(node.numbers("shape", 0) or [], number, device=node.device)


def _flattened(node: Node) -> Tensor:
    axis = node.get("axis", 1)
    return node[0].reshape(math.prod(node[0].shape[:axis]), -1)


def _padded_by_input(node: Node) -> Tensor:
    if len(node.tensors()) > 3:
        raise ModelError("Pad: axes: priced from no graph")
    return _padded(node[0], node.numbers("pads", 1) or [])


def _each(operation: Callable[..., Tensor]) -> Callable[[Node], Tensor]:
    return lambda node: operation(*node.together())


def _first(operation: Callable[[Tensor], Tensor]) -> Callable[[Node], Tensor]:
    return lambda node: operation(node[0])


def _of_axis(operation: Callable[..., Tensor]) -> Callable[[Node], Tensor]:
    return lambda node: operation(node[0], node.get("axis", -1))


OPERATIONS: dict[str, Callable[[Node], Any]] = {
    **dict.fromkeys(("Conv", "ConvInteger"), _convolve),
    "Gemm": _gemm,
    **dict.fromkeys(("MatMul", "MatMulInteger"), lambda node: node[0] @ node[1]),
    **dict.fromkeys(("MaxPool", "AveragePool"), _pool),
    "GlobalAveragePool": lambda n: n[0].mean(tuple(range(2, n[0].dim())), keepdim=True),
    "GlobalMaxPool": lambda n: n[0].amax(tuple(range(2, n[0].dim())), keepdim=True),
    **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "BatchNormalization"), _normed),
    **{name: _each(getattr(torch, name.lower())) for name in ("Add", "Sub", "Mul", "Div", "Pow")},
    "Max": _each(torch.maximum),
    "Min": _each(torch.minimum),
    **{name: _first(getattr(torch, name.lower())) for name in (
        "Abs", "Neg", "Exp", "Log", "Sqrt", "Erf", "Sign", "Floor", "Ceil", "Round", "Relu",
        "Tanh", "Sigmoid", "Reciprocal",
    )},
    **{name: _first(getattr(F, name.lower())) for name in (
        "Gelu", "Elu", "Selu", "Softplus", "HardSwish", "HardSigmoid", "Mish",
    )},
    "LeakyRelu": _first(F.leaky_relu),
    "Clip": _first(lambda x: x.clamp(0, 6)),
    "Softmax": _of_axis(torch.softmax),
    "LogSoftmax": _of_axis(torch.log_softmax),
    **{name: _each(operation) for name, operation in (
        ("Greater", torch.gt), ("GreaterOrEqual", torch.ge), ("Less", torch.lt),
        ("LessOrEqual", torch.le), ("Equal", torch.eq),
    )},
    "Where": _each(lambda chosen, x, y: torch.where(chosen.bool(), x, y)),
    "Shape": lambda node: torch.tensor(node[0].shape),
    "ConstantOfShape": _filled,
    "Not": _first(torch.logical_not),
    # numbers of few bits are priced by the chip's own words
    **dict.fromkeys(("Cast", "QuantizeLinear", "DequantizeLinear"), _first(lambda x: x.float())),
    **dict.fromkeys(("Identity", "Dropout"), _first(lambda x: x)),
    "Gather": _gathered,
    "Concat": lambda node: torch.cat(node.together(), node.get("axis")),
    "Transpose": lambda node: node[0].permute(
        node.get("perm") or tuple(reversed(range(node[0].dim())))
    ),
    "Flatten": _flattened,
    "Reshape": _reshaped,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Slice": _slice,
    "Pad": _padded_by_input,
}  # fmt: skip
