"""Per-sample rules: what each kind of layer adds to a record's norm, and to the clipped sum.

From a layer's input x and the gradient g of its output follow the per-sample norms (in closed form
for a dense layer, |x|^2 |g|^2: Goodfellow 2015) and, once the clip factors c are known, the clipped
sum (for a dense layer (c g)^T x: one matrix product).

Shapes: B samples, I inputs, O outputs, P output positions, K = kernel elements x input channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privacy.errors import ModelError


class Share(NamedTuple):
    """One layer's share: squared per-sample norms [B], and the sum weighted by factors [B].

    Both in float64: no square is lost, and whatever the order of a sum, its rounding is less than
    2^-40 of the clip.
    """

    squared_norms: Tensor
    weighted_sum: Callable[[Tensor], list[Tensor]]


Rule = Callable[[nn.Module, Tensor, Tensor], Share]


def _linear(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    if x.dim() > 2:  # a sequence: its positions share the weights, so they do not separate
        x_BPI, g_BPO = x.flatten(1, -2), g.flatten(1, -2)
        weight = torch.bmm(g_BPO.transpose(1, 2), x_BPI)
        return _materialised(layer, weight, g_BPO.sum(1))
    squared, squared_x = _squared_norms(g), _squared_norms(x)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        weighted = g.double() * c_B[:, None]
        return _with_bias(layer, weighted.t() @ x.double(), lambda: weighted.sum(0))

    return Share(squared * (squared_x + (layer.bias is not None)), weighted_sum)


def _conv2d(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    assert isinstance(layer, nn.Conv2d)
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ModelError(
            f"Conv2d(padding={layer.padding!r}, padding_mode={layer.padding_mode!r}): no "
            "per-sample rule; give the padding in numbers and pad with zeros"
        )
    (ph, pw), groups = layer.padding, layer.groups
    B, O, H, W = g.shape  # noqa: E741
    x = F.pad(x, (pw, pw, ph, ph))
    # A view of all patches, [B, G, C/G, kh, kw, H, W], then one copy to [B*G, P, K].
    b, c, row, col = x.stride()
    per_group = x.shape[1] // groups
    patches = x.as_strided(
        (B, groups, per_group, kh, kw, H, W),
        (b, c * per_group, c, row * dh, col * dw, row * sh, col * sw),
    )
    x_GPK = patches.permute(0, 1, 5, 6, 2, 3, 4).reshape(B * groups, H * W, per_group * kh * kw)
    g_GOP = g.reshape(B * groups, O // groups, H * W)
    return _materialised(layer, torch.bmm(g_GOP, x_GPK), g.sum((2, 3)))


def _normalisation(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    if isinstance(layer, nn.GroupNorm):
        normal = F.group_norm(x, layer.num_groups, eps=layer.eps)
        axes = tuple(range(2, x.dim()))
    else:
        assert isinstance(layer, nn.LayerNorm)
        normal = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
        axes = tuple(range(1, x.dim() - len(layer.normalized_shape)))
    weight, bias = g * normal, g
    return _materialised(layer, *((t.sum(axes) if axes else t) for t in (weight, bias)))


def _materialised(layer: nn.Module, weight: Tensor, bias: Tensor) -> Share:
    """The share of a layer small enough to hold its per-sample gradients [B, ...]."""
    B = bias.shape[0]
    weight_B, bias_B = weight.reshape(B, -1), bias.reshape(B, -1)
    squared = _squared_norms(weight_B)
    if layer.bias is not None:
        squared = squared + _squared_norms(bias_B)

    def weighted_sum(c_B: Tensor) -> list[Tensor]:
        return _with_bias(layer, c_B @ weight_B.double(), lambda: c_B @ bias_B.double())

    return Share(squared, weighted_sum)


def _squared_norms(rows: Tensor) -> Tensor:  # without a second matrix of squares
    return torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()


def _with_bias(layer: nn.Module, weight: Tensor, bias: Callable[[], Tensor]) -> list[Tensor]:
    return [weight] if layer.bias is None else [weight, bias()]


# By exact type, as in Opacus: a subclass may compute something else, so it registers its own.
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.GroupNorm: _normalisation,
    nn.LayerNorm: _normalisation,
}
