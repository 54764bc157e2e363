"""Norms over one record's own numbers, with a weight and a bias; and what stands for BatchNorm."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from privacy.dp.rules.share import Share, materialised
from privacy.errors import ModelError

MOST_GROUPS = 32  # as in Wu & He 2018, section 4.1
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def normalisation(layer: nn.Module, x: Tensor, g: Tensor) -> Share:
    """GroupNorm and InstanceNorm over x [B, C, ...], LayerNorm over x [B, ..., *shape]."""
    first, last = 2, x.dim()  # the axes that share a weight
    if isinstance(layer, nn.GroupNorm):
        normal = F.group_norm(x, layer.num_groups, eps=layer.eps)
    elif isinstance(layer, _InstanceNorm):
        last = x.dim() if x.dim() > layer._get_no_batch_dim() else 0
        normal = F.instance_norm(x, eps=layer.eps)
    else:
        assert isinstance(layer, nn.LayerNorm)
        normal = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
        first, last = 1, x.dim() - len(layer.normalized_shape)
    if last < first:
        raise ModelError(
            f"{type(layer).__name__}: its input {list(x.shape)} has no axis of records; keep the "
            "batch first and whole"
        )
    axes = tuple(range(first, last))
    held = [g * normal] + ([g] if layer.bias is not None else [])
    return materialised(*(t.sum(axes) if axes else t for t in held))


def without_batch_norm(module: nn.Module) -> tuple[nn.Module, list[str]]:
    """Put GroupNorm in the place of each BatchNorm, whose statistics mix the records of a batch.

    One that is frozen and in evaluation mode is left, being a constant scale. Weights and biases
    are kept. A subclass may compute something else, so it is left too, and refused by `privatize`.

    Args:
        module: changed in place.

    Returns:
        The module, or what stands for it if it is a BatchNorm itself; and a line for a person for
        each that was replaced.
    """
    notices: list[str] = []
    instead: dict[int, nn.Module] = {}  # by the id of what was there, which may be used twice
    for name, layer in list(module.named_modules()):
        trained = layer.training or any(p.requires_grad for p in layer.parameters())
        if type(layer) in BATCH_NORMS and trained:
            assert isinstance(layer, _BatchNorm)
            instead[id(layer)] = norm = _group_norm(layer)
            notices.append(
                f"layer {name or 'of the model'}: GroupNorm({norm.num_groups}, {norm.num_channels})"
                f" stands for {type(layer).__name__}, which mixes records"
            )
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):  # a child of two names by both
            if id(child) in instead:
                setattr(parent, name, instead[id(child)])
    return instead.get(id(module), module), notices


def _group_norm(layer: _BatchNorm) -> nn.GroupNorm:
    """With two channels a group or more: of a vector's single number there is no norm."""
    channels = layer.num_features
    most = max(1, min(MOST_GROUPS, channels // 2))
    groups = max(n for n in range(1, most + 1) if channels % n == 0)
    norm = nn.GroupNorm(groups, channels, layer.eps, layer.affine)
    if layer.affine:
        norm = norm.to(layer.weight)
        with torch.no_grad():
            norm.weight.copy_(layer.weight)
            norm.bias.copy_(layer.bias)
            for own, other in ((norm.weight, layer.weight), (norm.bias, layer.bias)):
                own.requires_grad_(other.requires_grad)
    return norm.train(layer.training)
