"""Adversarial examples: how many answers stay right when every number may move by epsilon?

FGSM (Goodfellow et al. 2015): one step along the sign of the gradient. PGD (Madry et al. 2018):
several, from two starts, always kept within epsilon (L-infinity) and within the public range.
Epsilon is in units of that range. Of a table numbers move, and their knots with them; a category is
one of its values, and a little of another has no meaning.

Where a model has no gradient of its own, that of one much like it is followed: `through` (Athalye,
Carlini and Wagner 2018, BPDA). What counts is the model's own answers.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.leakage import clopper_pearson
from attacks.tape import Nature

EPSILONS = (0.05, 0.1)  # of the public range
STEPS = 20
PIXELS = Nature("picture", ())


def may_move(x: Tensor, nature: Nature) -> Tensor:
    """1 for the numbers of records [B, ...] that may be a little greater or less, 0 for others.

    Of a table, numbers without a flag: that one is missing is no amount of it.
    """
    if nature.kind != "table":
        return torch.ones_like(x)
    moving = torch.zeros_like(x)
    for column in nature.columns:
        if not column.values:
            flags = x[:, column.start + 1 : column.start + 1 + len(column.flags)]
            moving[:, column.start] = (flags.sum(1) == 0).to(x.dtype)
    return moving


def fgsm(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, nature: Nature = PIXELS) -> Tensor:
    """Records [B, ...], each number moved by `epsilon` of its range to where the loss grows."""
    reach = epsilon * (nature.high - nature.low) * may_move(x, nature)
    moved = x + reach * _slope(model, x, y, nature).sign()
    return nature.settled(moved.clamp(nature.low, nature.high))


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    nature: Nature = PIXELS,
    seed: int = 0,
    through: nn.Module | None = None,
) -> Tensor:
    """Records [B, ...] that are furthest on the wrong side, of all that are met on the way.

    One start is FGSM's record, so that this attack is never the weaker.
    """
    followed, (low, high) = through or model, (nature.low, nature.high)
    reach = epsilon * (high - low) * may_move(x, nature)
    generator = torch.Generator().manual_seed(seed)
    shift = reach * (2 * torch.rand(x.shape, generator=generator) - 1)
    worst, most = x, _errors(model, x, y)
    for start in (fgsm(followed, x, y, epsilon, nature), (x + shift).clamp(low, high)):
        at = nature.settled(start)
        for step in range(STEPS + 1):
            found = _errors(model, at, y)
            worst = torch.where((found > most).view(-1, *[1] * (x.dim() - 1)), at, worst)
            most = torch.maximum(found, most)
            if step < STEPS:
                at = at + 2.5 / STEPS * reach * _slope(followed, at, y, nature).sign()
                at = nature.settled(at.clamp(x - reach, x + reach).clamp(low, high))
    return worst


def robust_accuracy(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    through: nn.Module | None = None,
    nature: Nature = PIXELS,
) -> dict[str, Any]:
    """Accuracy on clean and on attacked records, with Clopper-Pearson 95 % intervals."""
    model.eval()
    followed = through or model
    attacks: dict[str, Callable[[], Tensor]] = {"clean": lambda: x}
    for epsilon in EPSILONS:
        attacks[f"fgsm {epsilon:g}"] = lambda e=epsilon: fgsm(followed, x, y, e, nature)  # type: ignore[misc]
        attacks[f"pgd {epsilon:g}"] = lambda e=epsilon: pgd(  # type: ignore[misc]
            model, x, y, e, nature, through=through
        )
    found = {}
    for name, attack in attacks.items():
        with torch.no_grad():
            right = int((model(_made(attack)).argmax(1) == y).sum())
        low, high = clopper_pearson(right, len(y))
        found[name] = {"value": right / len(y), "low": low, "high": high}
    return found


def _made(attack: Callable[[], Tensor]) -> Tensor:
    with torch.enable_grad():
        return attack().detach()


def rounded(model: nn.Module, bits: int) -> nn.Module:
    """The model in place, each weight matrix rounded to `bits` bits, symmetric, per tensor."""
    levels = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                step = p.abs().max().clamp(min=1e-12) / levels
                p.copy_((p / step).round() * step)
    return model


def _slope(model: nn.Module, x: Tensor, y: Tensor, nature: Nature) -> Tensor:
    x = x.detach().requires_grad_()
    error = F.cross_entropy(model(nature.settled(x)), y, reduction="sum")
    (slope,) = torch.autograd.grad(error, [x])
    return slope


@torch.no_grad()
def _errors(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """By how much another class is preferred to the right one [B]: wrong where it is positive."""
    logits = model(x)
    own = logits.gather(1, y.unsqueeze(1))
    return (logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(1, keepdim=True) - own)[:, 0]
