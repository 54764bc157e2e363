"""Gradient inversion: the record behind an update that one record made.

Analytic where the first layer is dense: each row of its weight gradient is the record times the
same row of its bias gradient (Phong et al. 2017). Iterative elsewhere: a record is sought whose
gradient points the same way, with little total variation where neighbours are alike (Geiping et
al. 2020).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.reconstruction.gradients import Gradients
from attacks.tape import Nature

SMOOTHNESS = 0.01  # weight of total variation
STEPS, RESTARTS, RATE = 400, 2, 0.1
MOST_NUMBERS = 1 << 24  # of gradients at once: 64 MiB, and a few times that on the way


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


def fits_together(gradients: Gradients, victims: int) -> bool:
    """Is so many victims' search one computation, in bounded memory?"""
    return gradients.together and RESTARTS * victims * gradients.size <= MOST_NUMBERS


def invert(
    gradients: Gradients,
    target: Tensor,
    y: Tensor | None,
    nature: Nature,
    seeds: Sequence[int],
) -> Tensor:
    """Records [V, *nature.shape] whose gradients are most like victims', the best of a few starts.

    All are sought at once; none sees another's.

    Args:
        gradients: of the model, at the weights that were sent.
        target: each victim's gradient [V, P], up to a factor of its own.
        y: what the model was to say of each [V, ...]; None where that is the record itself.
        seeds: of each victim's starts.
    """
    step = max(1, MOST_NUMBERS // (RESTARTS * gradients.size))
    if len(seeds) > step:
        parts = [slice(i, i + step) for i in range(0, len(seeds), step)]
        some = [(target[p], None if y is None else y[p], nature, seeds[p]) for p in parts]
        return torch.cat([invert(gradients, *part) for part in some])
    low, high = nature.low, nature.high
    flat = target / target.norm(dim=1, keepdim=True).clamp(min=1e-30)
    flat, y = (None if t is None else t.repeat_interleave(RESTARTS, 0) for t in (flat, y))
    drawn = [_starts(seed, nature, target.dtype) for seed in seeds]
    x = (low + (high - low) * torch.cat(drawn)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=RATE * (high - low))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        read = nature.settled(x)
        found = gradients(read, read.flatten(1) if y is None else y)
        cost = 1 - (found * flat).sum(1) / found.norm(dim=1).clamp(min=1e-12)
        cost = cost + SMOOTHNESS * total_variation(x, nature.kind)
        optimizer.zero_grad()
        (x.grad,) = torch.autograd.grad(cost.sum(), [x])
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            x.clamp_(low, high)
    best = cost.detach().nan_to_num(torch.inf).view(-1, RESTARTS).argmin(1)
    ends = x.detach().nan_to_num().view(-1, RESTARTS, *nature.shape)
    return ends[torch.arange(len(best)), best]


def _starts(seed: int, nature: Nature, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(RESTARTS, *nature.shape, generator=generator, dtype=dtype)


def total_variation(x: Tensor, kind: str = "picture") -> Tensor:
    """Mean absolute difference of neighbours in records [B, ...], [B]: pixels, or samples in time.

    Columns of a table, and features, have none.
    """
    axes = {"picture": (-2, -1), "table": (), "features": ()}.get(kind, (-1,))
    rough = [x.diff(dim=axis).abs().flatten(1).mean(1) for axis in axes]
    return torch.stack([x.new_zeros(len(x)), *rough]).sum(0)
