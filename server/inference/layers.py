"""A trained model as the encrypted schemes see it: affine maps, and squares between them.

Whatever stands between two activations (dense layers, convolutions, means over windows, one-hot
categories times a matrix, offsets, what a frozen layer has beside it) is one affine map of a
record, and its matrix is what it makes of the unit vectors. A convolution of one plane that is the
first keeps its form: the client packs its windows. An activation that is no square is replaced by
quadratics (`server.inference.polynomials`).
"""

import copy
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.layers import ArithmeticConv1d, ArithmeticConv2d, ArithmeticLinear
from clients.arithmetic.rounding import RoundGradient, RoundInput
from clients.layers import AddChannel, MaxPool2d, Offset, Recurrent, Residual, Square
from clients.models.nets.sequences import SelfAttention
from clients.models.nets.tabular import Columns
from privacy.encrypted.net import Array, Convolution, Dense, Net
from privacy.encrypted.recipes import require_depth
from privacy.errors import ModelError
from server.inference.polynomials import FITTED, fit

PROBED = 256  # unit vectors at once
MOST_WEIGHTS = 1 << 24  # of a map's matrix, zeros included

WORDS = (ArithmeticLinear, ArithmeticConv1d, ArithmeticConv2d)
UNCHANGED = (nn.Flatten, nn.Identity, nn.Dropout, AddChannel, RoundGradient)
COMPUTED = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, *WORDS, Offset, Columns, Residual),
    *(nn.BatchNorm1d, nn.BatchNorm2d),  # by frozen statistics
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    *(*UNCHANGED, nn.Sequential, nn.ModuleDict),
)
_SPREAD = "it divides by the spread of each record's own numbers, which is no polynomial"
_LARGEST = "the largest of a window is no polynomial; use [model] pooling = 'mean'"
_STATES = "each step in time reads the one before, so its depth is that of the whole sequence"
WHY: dict[type[nn.Module], str] = {
    **dict.fromkeys((MaxPool2d, nn.MaxPool1d, nn.MaxPool2d), _LARGEST),
    **dict.fromkeys((nn.GroupNorm, nn.LayerNorm), f"{_SPREAD}; use [model] norm = 'none'"),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d), _SPREAD),
    **dict.fromkeys((Recurrent, nn.GRU, nn.LSTM), _STATES),
    SelfAttention: "its softmax divides by sums of exponentials",
}
INSTEAD = (
    "it computes linear, scatter, perceptron, tabular and strided, and convnet and cnn1d with "
    "[model] pooling = 'mean' and norm = 'none'; --scheme boolean a binarized perceptron"
)


class Part(NamedTuple):
    """One affine map, and what follows it.

    Attributes:
        layers: computed one after another.
        activation: None behind the last.
    """

    layers: list[nn.Module]
    activation: nn.Module | None


def parts_of(model: nn.Module) -> list[Part]:
    """The affine maps of a model and its activations.

    Raises:
        ModelError: leveled FHE does not compute one of its layers, or not so many activations; the
            error names the layer, or the depth, and what fits.
    """
    parts: list[Part] = []
    layers: list[nn.Module] = []
    chain = list(_chain(model))
    for number, layer in enumerate(chain, start=1):
        if type(layer) in (Square, *FITTED):
            parts.append(Part(layers, layer))
            layers = []
            continue
        for inner in layer.modules():
            _require_affine(inner, f"layer {number} of {len(chain)}, {type(layer).__name__}")
        layers.append(layer)
    if not layers:
        raise ModelError("under CKKS a model ends in a layer that gives a number for each class")
    require_depth(len(parts))
    return [*parts, Part(layers, None)]


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    """Layers in the order in which they are computed, as far as that is known."""
    if type(model) is not nn.Sequential:
        yield model
        return
    for layer in model:
        yield from _chain(layer)


def _require_affine(layer: nn.Module, where: str) -> None:
    if isinstance(layer, RoundInput):
        raise ModelError(
            f"{where}: [arithmetic] activation_bits = {layer.bits}: rounding cannot be evaluated "
            "under CKKS; train with -s arithmetic.activation_bits=32, its weights may have few bits"
        )
    if type(layer) not in COMPUTED:
        name = type(layer).__name__
        inside = "" if where.endswith(f" {name}") else f", in it {name}"
        why = WHY.get(type(layer), "what is no nn.Sequential of known layers is not looked into")
        raise ModelError(f"{where}{inside} cannot be evaluated under CKKS: {why}; {INSTEAD}")


def has_replaced(model: nn.Module) -> bool:
    """Has a model an activation for which a quadratic stands?"""
    return any(type(layer) in FITTED for layer in _chain(model))


def net_of(model: nn.Module, shape: tuple[int, int], drawn: Tensor) -> tuple[Net, list[str]]:
    """A trained model as a net.

    Args:
        shape: of the plane that a client packs, (H, W); what is no plane is one row.
        drawn: public records [B, ...] as the model reads them, on which quadratics are fitted.

    Returns:
        The net, and the kinds of the activations that were replaced, in order.

    Raises:
        ModelError: as `parts_of`; or a map is too wide.
    """
    parts = parts_of(model)
    if pool := _pooled_first(parts[0].layers, shape):
        drawn = parts[0].layers.pop(0)(drawn)
    reads, x = tuple(drawn.shape[1:]), drawn.double().numpy().reshape(len(drawn), -1)
    layers: list[Dense | Convolution] = []
    replaced = []
    squares = None
    for number, part in enumerate(parts, start=1):
        layer, reads = _affine(part.layers, reads, f"map {number} of {len(parts)}")
        z = x @ layer.weight.T + layer.bias
        if squares is not None:
            layer, squares = squares.behind(layer), None
        if isinstance(part.activation, Square):
            x = np.square(z)
            if number == 1 and (plain := _convolution(part.layers)):
                layers.append(plain)
                continue
        elif part.activation is not None:
            squares = fit(part.activation, z)
            x, layer = squares(z), squares.before(layer)
            replaced.append(type(part.activation).__name__)
        layers.append(layer)
    return Net(shape, pool or 1, tuple(layers)), replaced


def _pooled_first(layers: Iterable[nn.Module], shape: tuple[int, int]) -> int:
    """The side of the squares of pixels whose means come first, where a client can take them."""
    first = next(iter(layers))
    side = first.kernel_size if isinstance(first, nn.AvgPool2d) else 0
    if not isinstance(side, int) or not side or shape[0] % side or shape[1] % side:
        return 0
    return side if first.stride == side and first.padding == 0 else 0


def _convolution(layers: Iterable[nn.Module]) -> Convolution | None:
    """One convolution of one plane, and nothing else that changes numbers."""
    found = [x for x in layers if not isinstance(x, UNCHANGED)]
    layer = found[0]
    if (
        len(found) == 1
        and type(layer) in (nn.Conv2d, ArithmeticConv2d)
        and isinstance(layer, nn.Conv2d)
        and layer.in_channels == layer.groups == 1
        and isinstance(layer.padding, tuple)
        and layer.padding[0] == layer.padding[1]
        and layer.padding_mode == "zeros"
        and layer.dilation == (1, 1)
        and layer.stride[0] == layer.stride[1]
        and layer.kernel_size[0] == layer.kernel_size[1]
        and layer.bias is not None
    ):
        weight, bias = (x.detach().double().numpy() for x in (_weight(layer), layer.bias))
        return Convolution(weight[:, 0], bias, layer.stride[0], layer.padding[0])
    return None


def _affine(
    layers: Iterable[nn.Module], reads: tuple[int, ...], where: str
) -> tuple[Dense, tuple[int, ...]]:
    """The matrix of some layers on inputs of a shape, and the shape of what they give."""
    chain = copy.deepcopy(nn.Sequential(*layers)).eval()
    for layer in chain.modules():
        if isinstance(layer, WORDS):
            layer.weight.data = _weight(layer)
            layer.projection = _as_it_is  # type: ignore[assignment]
    chain.double().requires_grad_(False)
    shape = tuple(chain(torch.zeros(1, *reads, dtype=torch.float64)).shape[1:])
    inputs, outputs = math.prod(reads), math.prod(shape)
    if inputs * outputs > MOST_WEIGHTS:
        raise ModelError(
            f"{where} makes {outputs:,} numbers of {inputs:,}: at most {MOST_WEIGHTS:,} weights, "
            "zeros included, fit; use fewer channels, a smaller width, or a larger stride"
        )
    weight, bias = _probe(chain, reads)
    for parameter in chain.parameters():
        parameter.fill_(1)  # where a weight may stand, whatever it is
    return Dense(weight, bias, _probe(chain, reads)[0] != 0), shape


def _probe(chain: nn.Module, reads: tuple[int, ...]) -> tuple[Array, Array]:
    """weight [R, F] and bias [R] of an affine map."""
    constant = chain(torch.zeros(1, *reads, dtype=torch.float64)).reshape(-1)
    columns = [
        chain(units.reshape(-1, *reads)).flatten(1) - constant
        for units in torch.eye(math.prod(reads), dtype=torch.float64).split(PROBED)
    ]
    return torch.cat(columns).T.contiguous().numpy(), constant.numpy()


def _weight(layer: nn.Module) -> Tensor:
    """What a layer multiplies with: under an arithmetic, its words and their scales."""
    assert isinstance(layer.weight, Tensor)
    if isinstance(layer, WORDS):
        return layer.projection(layer.weight, training=False).detach()
    return layer.weight


def _as_it_is(weight: Tensor, training: bool) -> Tensor:
    return weight
