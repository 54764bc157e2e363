"""Norms over one record's own numbers, with a weight and a bias."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from privacy.dp.rules.share import Share, materialised
from privacy.errors import ModelError


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
