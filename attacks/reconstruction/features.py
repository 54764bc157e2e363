"""From features back to a record: what a fixed transform keeps of it.

A record is sought whose features are those that were drawn, as Bruna and Mallat 2013 do of
scattering, by L-BFGS (Liu and Nocedal 1989) from a stranger whose features are near. A transform
that keeps magnitudes alone does not tell phases, and what is found then has others.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.reconstruction.inversion import total_variation
from attacks.tape import Nature

STEPS, MEMORY = 150, 10
SMOOTHNESS = 0.1  # weight of differences between neighbouring pixels
NOISE = 1e-4  # of the range: where a magnitude is nothing it has no slope


def undo(
    front: Callable[[Tensor], Tensor], features: Tensor, starts: Tensor, nature: Nature, seed: int
) -> Tensor:
    """Records [V, *nature.shape] whose features are near to `features` [V, ...].

    Args:
        front: the transform, record by record; differentiable.
        starts: where the search begins [V, *nature.shape].
    """
    low, high = nature.low, nature.high
    shaken = torch.randn(starts.shape, generator=torch.Generator().manual_seed(seed))
    x = (starts + NOISE * (high - low) * shaken).clamp(low, high).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], max_iter=STEPS, max_eval=STEPS, history_size=MEMORY, line_search_fn="strong_wolfe"
    )

    def cost() -> float:
        error = (front(x.clamp(low, high)).float() - features).square().sum()
        if nature.kind == "picture":
            error = error + SMOOTHNESS * x[0].numel() * total_variation(x).sum()
        (slope,) = torch.autograd.grad(error, [x])
        x.grad = slope.nan_to_num()
        return float(error.detach())

    optimizer.step(cost)
    return x.detach().clamp(low, high)
