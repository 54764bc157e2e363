"""Canaries through the shipped step: records that would show it, if it protected them less.

They stand where a model shows them best, at weights of the auditor's choice (the worst start, as in
Annamalai and De Cristofaro 2024): each record's whole gradient lies far beyond the clip, in a
direction of its own. A canary is in the data by the toss of a coin, and its direction is looked at
after each step.

Shapes: M canaries, P parameters.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.audit.canaries import Bound, Scores, bounds, likelihood
from attacks.audit.claim import HUGE, LEVEL, Asked, Check, Claim, descent, flat
from attacks.audit.lessons import loud_targets
from privacy.dp.ledger import Ledger

MAX_STEPS = 400  # audited; what is claimed for them is held against what canaries prove
MOST_RUNS = 200
OF_A_LINE = 4  # times fewer calls in a linear model, if the run's own tells more
LEAST_CANARIES, MOST_CANARIES = 32, 128  # in the run's own model; fewer can prove nothing
ALONE = 0.05  # cosine of two canaries' directions, up to which they count as orthogonal


@dataclass(frozen=True, eq=False)
class Field:
    """Where canaries are planted: weights, one record a canary, and the direction that shows it.

    Attributes:
        directions: [M, P], or None where a linear model has a weight for each canary.
    """

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    directions: Tensor | None
    scale: float

    def __len__(self) -> int:
        return len(self.x)


@dataclass(eq=False)
class Harvest:
    """What runs of canaries gave.

    Attributes:
        noise: of canaries that were out, in deviations.
        seen: sum over steps of what members showed, in clips, and how many looks that were.
    """

    steps: int
    ledger: Ledger = field(default_factory=Ledger)
    scores: list[Scores] = field(default_factory=list)
    member: list[NDArray[np.bool_]] = field(default_factory=list)
    noise: list[NDArray[np.float64]] = field(default_factory=list)
    seen: float = 0.0
    looks: int = 0


def linear_field(claim: Claim) -> Field:
    """A linear model from zero: a record that is all in one coordinate has its gradient there."""
    num = claim.canaries
    model = nn.Sequential(nn.Flatten(), nn.Linear(num, 2, bias=False))
    nn.init.zeros_(model[1].weight)
    return Field(
        "a linear model",
        model,
        torch.eye(num) * HUGE,
        loud_targets(claim, num, outputs=2),
        None,
        1.0,
    )


def own_field(claim: Claim) -> Field | None:
    """The run's own model from its worst start; None where too few records have a direction each.

    Pixel j alone is lit, so brightly that all else of the gradient vanishes beside the one weight
    through which it reaches a hidden unit; and the model is sure of another target.
    """
    model = claim.build(0)
    dense = [m for m in model.modules() if isinstance(m, nn.Linear)]
    pixels = claim.x[0].numel()
    if len(dense) < 2 or not LEAST_CANARIES <= pixels == dense[0].in_features:
        return None
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        units = torch.arange(pixels) % min(layer.out_features for layer in dense[:-1])
        dense[0].weight[units, torch.arange(pixels)] = 1 / HUGE
        for layer in dense[1:-1]:
            layer.weight.copy_(torch.eye(*layer.weight.shape))
        dense[-1].weight[0] = -1.0
    num = min(pixels, MOST_CANARIES)
    x = torch.zeros(num, pixels)
    x[torch.arange(num), torch.arange(num)] = HUGE
    x, y = x.view(num, *claim.x.shape[1:]), loud_targets(claim, num, dense[-1].out_features)
    scale = 1e-2 / (claim.clip * max(1.0, claim.noise_multiplier))
    asked = Asked(1, 1.0, 0.0, path=(1, 0), plain=True)
    rows = [
        flat(descent(claim, model, x[i : i + 1], y[i : i + 1], asked, scale=scale)[0])
        for i in range(num)
    ]
    directions = (torch.stack(rows) / claim.clip).float()
    likeness = directions @ directions.t()
    if float((likeness - torch.eye(num)).abs().max()) > ALONE:
        return None
    return Field("the run's own model", model, x, y, directions, scale * claim.clip)


class Planted:
    """All runs of canaries, and what they prove."""

    def __init__(self, claim: Claim, seed: int) -> None:
        self._claim, self._seed = claim, seed
        self.steps = min(claim.steps, MAX_STEPS)
        line, own = linear_field(claim), own_field(claim)
        self.where = (own or line).name
        self.line = line
        calls = claim.calls // OF_A_LINE if own else claim.calls
        harvest = _reap(claim, line, self.steps, calls, seed)
        self.noise = np.concatenate(harvest.noise) if harvest.noise else np.empty(0)
        self.seen, self.looks = harvest.seen, harvest.looks
        if own is not None:
            harvest = _reap(claim, own, self.steps, claim.calls, seed + 1)
        self._scores = np.concatenate(harvest.scores)
        self._member = np.concatenate(harvest.member)
        self.epsilon = harvest.ledger.epsilon(claim.delta)
        self.bounds = self._bounds(0.05)

    def _bounds(self, chance: float) -> list[Bound]:
        claim = self._claim
        claimed = (claim.noise_multiplier, claim.sample_rate, self.steps)
        return bounds(self._scores, self._member, claimed, claim.delta, self._seed, chance)

    def proves_too_much(self) -> Check:
        """No bound that all but certainly holds may exceed the epsilon of the audited steps."""
        worst = max(self._bounds(LEVEL), key=lambda b: b.epsilon)
        return Check(
            "canaries",
            bool(worst.epsilon <= self.epsilon),
            f"in {self.where}, epsilon is at least {worst.epsilon:.2f} ({worst.name}), all but "
            f"certainly (1 in {1 / LEVEL:,.0f})",
            f"at most {self.epsilon:.2f}, which is claimed for {self.steps} steps",
            "the mechanism protects less than claimed: see the checks above for why",
        )


def _reap(claim: Claim, planted: Field, steps: int, most_calls: int, seed: int) -> Harvest:
    """Runs of canaries one after another, in each of which every canary is tossed for anew."""
    rng = np.random.default_rng(seed)
    harvest = Harvest(steps)
    sigma, rate = claim.noise_multiplier, claim.sample_rate
    for run in range(max(1, min(MOST_RUNS, most_calls // steps))):
        member = rng.random(len(planted)) < 0.5
        inside = np.flatnonzero(member)
        scores = np.zeros(len(planted))
        for step in range(1, steps + 1):
            asked = Asked(
                1, rate, sigma, (run * steps + step, 0), seed=seed, plain=True,
                nominal=max(1, len(inside)), ledger=harvest.ledger if run == 0 else Ledger(),
            )  # fmt: skip
            shown = shown_by(claim, planted, inside, asked)
            scores += likelihood(shown[None], sigma, rate)
            harvest.seen += float(shown[member].sum())
            harvest.looks += len(inside)
            if sigma > 0:
                harvest.noise.append(shown[~member] / sigma)
        harvest.scores.append(scores)
        harvest.member.append(member)
    return harvest


def shown_by(claim: Claim, planted: Field, inside: NDArray, asked: Asked) -> NDArray[np.float64]:
    """One step's release in each canary's direction, in units of the clip norm [M]."""
    x, y = planted.x[inside], planted.y[inside]
    if planted.directions is not None:
        release, _ = descent(claim, planted.model, x, y, asked, scale=planted.scale / claim.clip)
        return (planted.directions @ flat(release).float()).double().numpy() / claim.clip
    weight = next(planted.model.parameters())
    with torch.no_grad():
        weight.zero_()
    expected = asked.sample_rate * (asked.nominal or len(x))
    claim.device(planted.model, x, y, replace(asked, learning_rate=expected / claim.clip))
    w = weight.detach().double()
    return ((w[0] - w[1]) / math.sqrt(2)).numpy()
