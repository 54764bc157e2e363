"""Layers that no rule can protect: records do not separate in them, or they draw at random."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from privacy.errors import ModelError

# Is it so, and what is wrong with it and to be done.
REFUSALS: list[tuple[Callable[[nn.Module], object], str]] = [
    (
        lambda layer: isinstance(layer, _BatchNorm),
        "it mixes records, so that there is no per-sample gradient; use GroupNorm",
    ),
    (
        lambda layer: isinstance(layer, _InstanceNorm) and layer.track_running_stats,
        "track_running_stats: what it keeps of the records has no noise; leave it out",
    ),
    (
        lambda layer: getattr(layer, "max_norm", None) is not None,
        "max_norm: it changes weights by a batch's records, without noise; leave it out",
    ),
    (
        lambda layer: getattr(layer, "scale_grad_by_freq", False),
        "scale_grad_by_freq: a record's gradient depends on the others; leave it out",
    ),
    (
        lambda layer: isinstance(layer, nn.RNNBase) and layer.num_layers > 1 and layer.dropout,
        "dropout: it is computed again, and would draw again; use nn.Dropout between two of them",
    ),
    (
        lambda layer: isinstance(layer, nn.MultiheadAttention) and layer.dropout,
        "dropout: it is computed again, and would draw again; set it to 0, use nn.Dropout after it",
    ),
]


def require_apart(name: str, layer: nn.Module) -> None:
    """Refuse, by ModelError, a trained layer in whose gradients records do not separate."""
    for is_so, why in REFUSALS:
        if is_so(layer):
            raise ModelError(f"layer {name} ({type(layer).__name__}): {why}")
