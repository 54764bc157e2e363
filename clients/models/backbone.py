"""Backbone: features of pictures by a net that was trained on public ones, and is not trained here.

EfficientNet-Lite0 (Tan and Le, ICML 2019; without squeeze-and-excite, ReLU6 for swish) under the
names that its weights have in PyTorch. They come from a file of the user's; each BatchNorm is the
affine map that it learnt, folded into the convolution before it. Padding is TensorFlow's SAME.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from clients.models.transform import Product, Step, Transform
from clients.models.weights import find
from clients.protocol import Form
from privacy.errors import ModelError

STEM, PLACES = 32, 2  # PLACES^2 means of what the last block gives
BLOCK = 16
EPSILON = 1e-3  # of its BatchNorm

# Inputs, outputs, expansion, kernel and stride of each block.
BLOCKS = (
    (32, 16, 1, 3, 1),
    *((16, 24, 6, 3, 2), (24, 24, 6, 3, 1)),
    *((24, 40, 6, 5, 2), (40, 40, 6, 5, 1)),
    *((40, 80, 6, 3, 2), (80, 80, 6, 3, 1), (80, 80, 6, 3, 1)),
    *((80, 112, 6, 5, 1), (112, 112, 6, 5, 1), (112, 112, 6, 5, 1)),
    *((112, 192, 6, 5, 2), *((192, 192, 6, 5, 1),) * 3),
    (192, 320, 6, 3, 1),
)
FEATURES = BLOCKS[-1][1] * PLACES**2


class Conv(NamedTuple):
    """One convolution, with what BatchNorm made of it.

    Attributes:
        keys: of its weight, and of the norm's four, in the file.
        begins, ends: a residual block: its input is kept, or added to what this gives.
    """

    keys: tuple[str, str]
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    active: bool = True
    begins: bool = False
    ends: bool = False


def plan() -> list[Conv]:
    """The net's convolutions, in order, up to its last block: the convolution behind it was made
    for the classes of its own pictures."""
    convs = [Conv(("_conv_stem", "_bn0"), 3, STEM, 3, 2)]
    for number, (inputs, outputs, expansion, kernel, stride) in enumerate(BLOCKS):
        at, wide = f"_blocks.{number}.", inputs * expansion
        residual = stride == 1 and inputs == outputs
        if expansion > 1:
            convs.append(Conv((f"{at}_expand_conv", f"{at}_bn0"), inputs, wide, 1, begins=residual))
        each = Conv((f"{at}_depthwise_conv", f"{at}_bn1"), wide, wide, kernel, stride, True)
        project = (f"{at}_project_conv", f"{at}_bn2")
        convs += [each, Conv(project, wide, outputs, 1, active=False, ends=residual)]
    return convs


def backbone(form: Form, name: str, sha256: str, size: int) -> Transform:
    """Pictures [H, W] or [3, H, W] -> float16 [1280], the means of the last block's channels
    in each quarter of the picture, of mean 0 and deviation 1 in each record.

    Args:
        name, sha256: of the file of weights.
        size: side to which pictures are brought, in pixels.

    Raises:
        ModelError: no grey or colour pictures; or the file is not there, or another net's.
    """
    grey = len(form.shape) == 2
    if form.kind != "picture" or not (grey or (len(form.shape) == 3 and form.shape[0] == 3)):
        raise ModelError(
            "[model] front = 'backbone': reads grey or colour pictures, and these records are a "
            f"{form.kind} of {list(form.shape)}; use front = 'none' and another model"
        )
    if not name:
        raise ModelError(
            "[model] weights: missing: the .safetensors file of EfficientNet-Lite0's public weights"
        )
    _folded(name, sha256)  # or say now what is wrong with it

    def apply(pictures: Tensor) -> Tensor:
        made = [_features(some, name, sha256, size) for some in pictures.split(BLOCK)]
        return torch.cat(made) if made else torch.zeros(0, FEATURES, dtype=torch.float16)

    return Transform(apply, (FEATURES,), lambda: _steps(size), BLOCK)


@torch.no_grad()
def _features(pictures: Tensor, name: str, sha256: str, size: int) -> Tensor:
    if pictures.dim() == 3:
        pictures = pictures[:, None].expand(-1, 3, -1, -1)
    shrunk = min(pictures.shape[2:]) > size
    x = F.interpolate(pictures, (size, size), mode="bilinear", antialias=shrunk)
    x = ((x * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)  # twice as fast
    kept = x
    for conv, (weight, bias) in zip(plan(), _folded(name, sha256), strict=True):
        kept = x if conv.begins else kept
        height, width = (_same(n, conv.kernel, conv.stride) for n in x.shape[2:])
        groups = conv.inputs if conv.depthwise else 1
        x = F.conv2d(F.pad(x, (*width, *height)), weight, bias, conv.stride, groups=groups)
        x = x.clamp_(0, 6) if conv.active else x
        x = x.add_(kept) if conv.ends else x
    quarters = F.adaptive_avg_pool2d(x, PLACES).flatten(1)
    return F.layer_norm(quarters, (FEATURES,)).to(torch.float16)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and behind, so that a side of n gives ceil(n / stride)."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


@lru_cache(maxsize=2)
def _folded(name: str, sha256: str) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution."""
    tensors = find(name, sha256)

    def tensor(key: str, *shape: int) -> Tensor:
        if key not in tensors or tuple(tensors[key].shape) != shape:
            found = list(tensors[key].shape) if key in tensors else "none"
            raise ModelError(
                f"[model] weights = {name!r}: {key} is {found}, and {list(shape)} in "
                "EfficientNet-Lite0, the backbone that is known; bring a file of its weights"
            )
        return tensors[key].double()

    folded = []
    for conv in plan():
        depth, out = 1 if conv.depthwise else conv.inputs, conv.outputs
        weight = tensor(f"{conv.keys[0]}.weight", out, depth, conv.kernel, conv.kernel)
        parts = ("weight", "bias", "running_mean", "running_var")
        gain, bias, mean, variance = (tensor(f"{conv.keys[1]}.{part}", out) for part in parts)
        gain = gain / (variance + EPSILON).sqrt()
        weight = (weight * gain[:, None, None, None]).float()
        weight = weight.contiguous(memory_format=torch.channels_last)
        folded.append((weight, (bias - mean * gain).float()))
    return folded


def _steps(size: int) -> list[Step]:
    steps = [Step("resize", (-1,), 3 * size * size)]
    kept, side = 0, size
    for conv in plan():
        before, side = len(steps) - 1, -(-side // conv.stride)
        kept = before if conv.begins else kept
        positions, area = side * side, conv.kernel**2
        product = (
            Product(conv.outputs, positions, area, 1)
            if conv.depthwise
            else Product(1, positions, area * conv.inputs, conv.outputs)
        )
        steps.append(Step(conv.keys[0], (before,), conv.outputs * positions, product))
        if conv.ends:
            steps.append(Step("add", (before + 1, kept), conv.outputs * positions))
    last = len(steps) - 1
    return [*steps, Step("quarters", (last,), FEATURES), Step("normalise", (last + 1,), FEATURES)]
