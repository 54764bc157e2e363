"""Layers that no rule can protect: records do not separate in them, or they draw at random."""

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.lazy import LazyModuleMixin

from privacy.errors import ModelError

Refusals = list[tuple[Callable[[nn.Module], object], str]]

# Is it so, and what is wrong with it and to be done: trained or not,
IN_ANY_LAYER: Refusals = [
    (
        lambda layer: (
            isinstance(layer, _BatchNorm) and (layer.training or layer.running_var is None)
        ),
        "it mixes records, so that there is no per-sample gradient; use GroupNorm",
    ),
    (
        lambda layer: (
            isinstance(layer, _InstanceNorm) and layer.track_running_stats and layer.training
        ),
        "track_running_stats: what it keeps of the records has no noise; leave it out",
    ),
    (
        lambda layer: getattr(layer, "max_norm", None) is not None,
        "max_norm: it changes weights by a batch's records, without noise; leave it out",
    ),
    (
        lambda layer: isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params(),
        "its weights have no shape yet; call the model once on an example, or name its sizes",
    ),
]

# and in trained layers.
IN_TRAINED_LAYERS: Refusals = [
    (
        lambda layer: isinstance(layer, _BatchNorm),
        "it mixes records, so that there is no per-sample gradient; use GroupNorm",
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


def require_apart(name: str, layer: nn.Module, *, trained: bool) -> None:
    """Refuse, by ModelError, a layer in whose outputs or gradients records do not separate."""
    for is_so, why in IN_ANY_LAYER + IN_TRAINED_LAYERS * trained:
        if is_so(layer):
            raise ModelError(f"layer {name} ({type(layer).__name__}): {why}")
