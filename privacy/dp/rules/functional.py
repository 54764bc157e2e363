"""Any other layer: its gradients record by record, by Opacus's rule for it or by `torch.func`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from privacy.dp.opacus import GradSampleModule
from privacy.dp.rules.share import Call
from privacy.errors import ModelError

# Maps parameters, and inputs of one record, to that record's outputs in floating point.
One = Callable[..., tuple[Tensor, ...]]


def opacus_knows(layer: nn.Module) -> bool:
    """Has Opacus a rule for layers of exactly this type? (For EmbeddingBag: not for plain bags.)"""
    return type(layer) in GradSampleModule.GRAD_SAMPLERS and type(layer) is not nn.EmbeddingBag


def by_opacus(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """By the grad sampler that is registered with Opacus."""
    sampler = GradSampleModule.GRAD_SAMPLERS[type(layer)]
    found = {id(p): rows for p, rows in sampler(layer, list(call.inputs), g[0]).items()}
    return {
        name: found[id(p)] for name, p in layer.named_parameters(recurse=False) if p.requires_grad
    }


def by_function(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """By calling the layer again on each record: its own parameters, not those of layers inside.

    Raises:
        ModelError: a tensor that it is given has not the batch first, or it draws at random.
    """
    leaves, tree = tree_flatten(call)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def one(parameters: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        values = list(leaves)
        for place, value in zip(places, inputs, strict=True):
            values[place] = value[None]
        again = tree_unflatten(values, tree)
        out = functional_call(layer, parameters, again.inputs, again.named, tie_weights=False)
        return tuple(y[0] for y in floating(out))

    named = layer.named_parameters(recurse=False, remove_duplicate=False)
    own = {n: p.detach() for n, p in named if p.requires_grad}
    return record_by_record(type(layer).__name__, one, own, [leaves[i] for i in places], g)


def record_by_record(
    name: str,
    one: One,
    parameters: dict[str, Tensor],
    inputs: list[Tensor],
    g: tuple[Tensor, ...],
) -> dict[str, Tensor]:
    """Gradients [B, ...] of each parameter: by `vmap`, or one after another where that cannot.

    Args:
        name: of the layer's type, for a person.
        one: the layer on one record.
        inputs: [B, ...] each.
        g: the gradients of its outputs, [B, ...] each.

    Raises:
        ModelError: other than B rows in one of them, or the layer draws at random.
    """
    if len(rows := {t.shape[:1] for t in (*inputs, *g)}) != 1 or rows == {torch.Size()}:
        raise ModelError(
            f"{name}: its inputs and outputs are {[list(t.shape) for t in (*inputs, *g)]}; without "
            "a rule of its own, each must have the batch first (make a constant a buffer)"
        )

    def pull(*both: Tensor) -> dict[str, Tensor]:
        x, gradients = both[: len(inputs)], both[len(inputs) :]
        _, back = vjp(lambda p: one(p, *x), parameters)
        (found,) = back(gradients)
        return found

    both = (*inputs, *g)
    try:
        return vmap(pull, randomness="error")(*both)
    except RuntimeError as error:
        if "randomness" in str(error):
            raise ModelError(
                f"{name}: it draws at random, and would draw again; set its dropout to 0"
            ) from error
    # What vmap cannot do: in-place work, values that decide, functions without a batched form.
    try:
        apart = [
            _alone(one, parameters, list(rows[: len(inputs)]), list(rows[len(inputs) :]))
            for rows in zip(*both, strict=True)
        ]
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{name}: it cannot be called on one record alone ({reason})") from error
    return {n: torch.stack([each[n] for each in apart]) for n in parameters}


def _alone(
    one: One, parameters: dict[str, Tensor], inputs: list[Tensor], g: list[Tensor]
) -> dict[str, Tensor]:
    """One record's gradients by ordinary autograd."""
    own = {n: p.detach().requires_grad_() for n, p in parameters.items()}
    with torch.enable_grad():
        pairs = [(y, gy) for y, gy in zip(one(own, *inputs), g, strict=True) if y.requires_grad]
    if not pairs:
        return {n: torch.zeros_like(p) for n, p in own.items()}
    outputs, gradients = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, list(own.values()), gradients, allow_unused=True)
    return {
        n: torch.zeros_like(p) if d is None else d
        for (n, p), d in zip(own.items(), found, strict=True)
    }


def floating(outputs: object) -> list[Tensor]:
    """The outputs of a layer that a gradient can flow through, in order."""
    leaves, _ = tree_flatten(outputs)
    return [t for t in leaves if isinstance(t, Tensor) and t.is_floating_point()]
