"""Adversarial examples: how many answers stay right when every pixel may move by epsilon?

FGSM (Goodfellow et al. 2015): one step along the sign of the gradient. PGD (Madry et al. 2018):
several, from two starts, always kept within epsilon (L-infinity) and within [0, 1].

Where a model has no gradient of its own, that of one much like it is followed: `through` (Athalye,
Carlini and Wagner 2018, BPDA). What counts is the model's own answers.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.leakage import clopper_pearson

EPSILONS = (0.05, 0.1)  # of a pixel's range
STEPS = 20


def fgsm(model: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """Images [B, H, W], each pixel moved by `epsilon` to where the loss grows."""
    return (x + epsilon * _slope(model, x, y).sign()).clamp(0, 1)


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    seed: int = 0,
    through: nn.Module | None = None,
) -> Tensor:
    """Images [B, H, W] that are furthest on the wrong side, of all that are met on the way.

    One start is FGSM's image, so that this attack is never the weaker.
    """
    followed = through or model
    generator = torch.Generator().manual_seed(seed)
    shift = epsilon * (2 * torch.rand(x.shape, generator=generator) - 1)
    worst, most = x, _errors(model, x, y)
    for start in (fgsm(followed, x, y, epsilon), (x + shift).clamp(0, 1)):
        at = start
        for step in range(STEPS + 1):
            found = _errors(model, at, y)
            worst = torch.where((found > most).view(-1, 1, 1), at, worst)
            most = torch.maximum(found, most)
            if step < STEPS:
                at = at + 2.5 * epsilon / STEPS * _slope(followed, at, y).sign()
                at = at.clamp(x - epsilon, x + epsilon).clamp(0, 1)
    return worst


def robust_accuracy(
    model: nn.Module, x: Tensor, y: Tensor, through: nn.Module | None = None
) -> dict[str, Any]:
    """Accuracy on clean and on attacked images, with Clopper-Pearson 95 % intervals."""
    model.eval()
    followed = through or model
    attacks: dict[str, Callable[[], Tensor]] = {"clean": lambda: x}
    for epsilon in EPSILONS:
        attacks[f"fgsm {epsilon:g}"] = lambda e=epsilon: fgsm(followed, x, y, e)  # type: ignore[misc]
        attacks[f"pgd {epsilon:g}"] = lambda e=epsilon: pgd(model, x, y, e, through=through)  # type: ignore[misc]
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


def _slope(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), [x])
    return slope


@torch.no_grad()
def _errors(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """By how much another class is preferred to the right one [B]: wrong where it is positive."""
    logits = model(x)
    own = logits.gather(1, y.unsqueeze(1))
    return (logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(1, keepdim=True) - own)[:, 0]
