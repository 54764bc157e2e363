"""Gradient inversion: the record behind an update that one record made.

Analytic where the first layer is dense: each row of its weight gradient is the record times the
same row of its bias gradient (Phong et al. 2017). Iterative elsewhere: a record is sought whose
gradient points the same way, with little total variation where neighbours are alike (Geiping et
al. 2020).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.tape import Loss, Nature, cross_entropy

SMOOTHNESS = 0.01  # weight of total variation
STEPS, RESTARTS, RATE = 400, 2, 0.1


def first_dense(model: nn.Module) -> tuple[str, nn.Linear] | None:
    """The first layer and its name, if it is dense, has a bias, and both are trained."""
    for name, layer in model.named_modules():
        if own := list(layer.parameters(recurse=False)):
            dense = isinstance(layer, nn.Linear) and layer.bias is not None
            return (name, layer) if dense and all(p.requires_grad for p in own) else None
    return None


def invert_dense(weight_OI: Tensor, bias_O: Tensor, nature: Nature) -> Tensor:
    """The record [*nature.shape], from gradients of the first layer: least squares over its rows.

    Whatever the two were scaled by, clipping or the learning rate, falls out.
    """
    record = bias_O.double() @ weight_OI.double() / bias_O.double().square().sum().clamp(min=1e-30)
    return record.clamp(nature.low, nature.high).nan_to_num().float().view(nature.shape)


def invert(
    model: nn.Module,
    target: Sequence[Tensor],
    y: Tensor | None,
    nature: Nature,
    seed: int,
    loss: Loss = cross_entropy,
) -> Tensor:
    """The record [*nature.shape] whose gradient is most like `target`, the best of a few starts.

    Args:
        model: at the weights that were sent; differentiable twice.
        target: gradients of the trained parameters, up to a common factor.
        y: what the model was to say of it [1, ...]; None where that is the record itself.
    """
    shape, low, high = nature.shape, nature.low, nature.high
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat = torch.cat([t.flatten() for t in target])
    flat = flat / flat.norm().clamp(min=1e-30)
    best, best_cost = torch.zeros(shape), math.inf
    for _ in range(RESTARTS):
        x = (low + (high - low) * torch.rand(1, *shape, generator=generator)).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=RATE * (high - low))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            read = nature.settled(x)
            error = loss(model(read), read.flatten(1) if y is None else y).sum()
            gradients = torch.autograd.grad(error, parameters, create_graph=True)
            found = torch.cat([g.flatten() for g in gradients])
            cost = 1 - found @ flat / found.norm().clamp(min=1e-12)
            cost = cost + SMOOTHNESS * total_variation(x, nature.kind)
            optimizer.zero_grad()
            (x.grad,) = torch.autograd.grad(cost, [x])
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(low, high)
        if (reached := float(cost.detach())) < best_cost:
            best, best_cost = x.detach()[0].clone(), reached
    return best


def total_variation(x: Tensor, kind: str = "picture") -> Tensor:
    """Mean absolute difference of neighbours in records [B, ...]: pixels, or samples in time.

    Columns of a table, and features, have none.
    """
    axes = {"picture": (-2, -1), "table": (), "features": ()}.get(kind, (-1,))
    return torch.stack([x.new_zeros(()), *(x.diff(dim=axis).abs().mean() for axis in axes)]).sum()
