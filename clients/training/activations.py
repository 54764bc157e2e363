"""Activations of a net that are pruned: what `[pruning] activation` does to its layers."""

from torch import nn

from clients.layers import Kept, Square
from privacy.errors import ModelError

ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish),
    *(nn.Tanh, nn.Sigmoid, Square),
)


def keep_of_activations(net: nn.Module, how: str) -> nn.Module:
    """The net with what its activations give pruned; its weights keep their names.

    Args:
        how: `[pruning] activation`.

    Raises:
        ModelError: it has none, or calls them as functions.
    """
    kind, _, value = how.partition(":")
    given = {"top": float(value)} if kind == "top" else {"least": float(value)}
    found = 0
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and type(child) in ACTIVATIONS:
                parent._modules[name] = Kept(child, **given)
                found += 1
    if not found:
        raise ModelError(
            f"[pruning] activation = {how!r}: the model has no activation that is a layer, such "
            "as nn.ReLU(); leave it out"
        )
    return net
