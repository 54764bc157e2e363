"""Gradient inversion: the image behind an update that one record made.

Analytic where the first layer is dense: each row of its weight gradient is the image times the same
row of its bias gradient (Phong et al. 2017). Iterative elsewhere: an image is sought whose gradient
points the same way, with little total variation (Geiping et al. 2020).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTHNESS = 0.01  # weight of total variation
STEPS, RESTARTS, RATE = 400, 2, 0.1


def first_dense(model: nn.Module) -> tuple[str, nn.Linear] | None:
    """The first trained layer and its name, if it is dense and has a bias."""
    for name, layer in model.named_modules():
        if list(layer.parameters(recurse=False)):
            dense = isinstance(layer, nn.Linear) and layer.bias is not None
            return (name, layer) if dense else None
    return None


def invert_dense(weight_OI: Tensor, bias_O: Tensor, shape: tuple[int, int]) -> Tensor:
    """The image [H, W], from gradients of the first layer: least squares over all its rows.

    Whatever the two were scaled by, clipping or the learning rate, falls out.
    """
    image = bias_O.double() @ weight_OI.double() / bias_O.double().square().sum().clamp(min=1e-30)
    return image.clamp(0, 1).nan_to_num().float().view(shape)


def invert(
    model: nn.Module, target: Sequence[Tensor], label: int, shape: tuple[int, int], seed: int
) -> Tensor:
    """The image [H, W] whose gradient is most like `target`, the best of a few starts.

    Args:
        model: at the weights that were sent; differentiable twice.
        target: gradients of the trained parameters, up to a common factor.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    y = torch.tensor([label])
    flat = torch.cat([t.flatten() for t in target])
    flat = flat / flat.norm().clamp(min=1e-30)
    best, best_cost = torch.zeros(shape), math.inf
    for _ in range(RESTARTS):
        x = torch.rand(1, *shape, generator=generator).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            gradients = torch.autograd.grad(
                F.cross_entropy(model(x), y), parameters, create_graph=True
            )
            found = torch.cat([g.flatten() for g in gradients])
            cost = 1 - found @ flat / found.norm().clamp(min=1e-12)
            cost = cost + SMOOTHNESS * total_variation(x)
            optimizer.zero_grad()
            (x.grad,) = torch.autograd.grad(cost, [x])
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        if (reached := float(cost.detach())) < best_cost:
            best, best_cost = x.detach()[0].clone(), reached
    return best


def total_variation(x_BHW: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels."""
    down, right = x_BHW.diff(dim=1).abs().mean(), x_BHW.diff(dim=2).abs().mean()
    return down + right
