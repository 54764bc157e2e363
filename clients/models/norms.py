"""BatchNorm in a user's own model, which mixes records: GroupNorm stands for it."""

import math
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

MOST_GROUPS = 32  # Wu and He 2018, and Opacus's validator
MARK = "stands_for"


def without_batch_norm(net: nn.Module) -> nn.Module:
    """The net, with each BatchNorm that it would train changed for a GroupNorm of its channels.

    Under no promise too: a model is one model, whatever it is trained for. One that its author has
    frozen stays, and mixes nothing.
    """
    if isinstance(net, _BatchNorm):
        return _grouped(net)
    for parent in list(net.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, _BatchNorm):
                setattr(parent, name, _grouped(layer))
    return net


def _grouped(layer: nn.Module) -> nn.Module:
    channels = getattr(layer, "num_features", 0)
    if not (layer.training and channels):  # a lazy one does not know its channels, and is refused
        return layer
    # of flat features each would be a group of its own, and nothing be left of it
    groups = 1 if isinstance(layer, nn.BatchNorm1d) else math.gcd(channels, MOST_GROUPS)
    norm = nn.GroupNorm(groups, channels, eps=layer.eps, affine=layer.affine)
    setattr(norm, MARK, type(layer).__name__)
    return norm


def told_of_norms(net: nn.Module) -> str:
    """Which layers are not what their author wrote; empty if all are."""
    return "; ".join(_told(net))


def _told(net: nn.Module) -> Iterator[str]:
    found = {name: getattr(layer, MARK, "") for name, layer in net.named_modules()}
    for kind in sorted({kind for kind in found.values() if kind}):
        names = [name or "it" for name, one in found.items() if one == kind]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"GroupNorm stands for {kind} ({', '.join(names[:3])}{more}), which mixes the records "
            "of a batch"
        )
