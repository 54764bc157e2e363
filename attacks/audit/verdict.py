"""Audit: does the mechanism that shipped do what it claims?

The auditor has a `Device`: the shipped code for one round of training, on records and weights of
the auditor's choice. What a device releases is compared with what its ledger charges.

- *noise*: twin rounds of one seed, with and without noise, differ by the noise. Its deviation must
  be the charged one (chi-square), layer by layer, and no two rounds' noise may be alike.
- *sensitivity*: twin rounds with and without one huge record must differ by no more than the clip.
- *sampling*, *accounting*: batches are Poisson samples at the charged rate; steps are charged.
- *canaries*: an attack may not prove more than what is claimed.

Each check alone misses faults that another finds. All of them are tests at a level so strict that a
correct mechanism fails any of them in less than one audit in a hundred.

Shapes: P parameters, R releases, M canaries, T steps.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, chi2
from torch import Tensor, nn

from attacks.audit.canaries import Bound, bounds, likelihood
from attacks.audit.claim import HUGE, LEVEL, Asked, Check, Claim, descent
from attacks.audit.noise import Noise
from privacy.dp.ledger import Ledger, Spent

RECORDS = 12  # of a full batch, in the sensitivity check
MAX_STEPS = 400  # audited; what is claimed for them is held against what canaries prove


@dataclass(frozen=True)
class Audit:
    """All checks, and the lower bounds on epsilon of the audited steps."""

    checks: list[Check]
    bounds: list[Bound]
    steps: int
    epsilon: float

    @property
    def passed(self) -> bool:
        """Did every check?"""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, **asdict(self)}


def audit(claim: Claim, seed: int = 0) -> Audit:
    """Run every check on a claim of DP-SGD, whose records may be whole clients."""
    noise = Noise(claim, seed)
    canaries = _Canaries(claim, seed)
    checks = [
        noise.deviation(),
        noise.repetition(),
        sensitivity(claim, seed),
        canaries.sampling(),
        charging(claim, seed),
        *accounting(claim),
        canaries.proves_too_much(),
    ]
    return Audit(checks, canaries.bounds, canaries.steps, canaries.epsilon)


def sensitivity(claim: Claim, seed: int) -> Check:
    """Without noise, one huge record may move the sum of a full batch by the clip and no more."""
    worst, where = 0.0, ""
    for trial in range(3):
        model = claim.build(seed + trial)
        chosen = torch.randperm(
            len(claim.x), generator=torch.Generator().manual_seed(seed + trial)
        )[:RECORDS]
        x, y = claim.x[chosen].clone(), claim.y[chosen].clone()
        x[-1] *= HUGE
        with torch.no_grad():  # a label that the model finds wrong, or the gradient would be none
            logits = model(x[-1:].float())[0]
        y[-1] = logits.argmin()
        moved = []
        for num in (len(x), len(x) - 1):
            change, _ = descent(
                claim,
                model,
                x[:num],
                y[:num],
                Asked(steps=1, sample_rate=1.0, noise_multiplier=0.0, path=(1, 0)),
                scale=1 / claim.clip,
            )
            moved.append(change)
        by_layer = {n: float((moved[0][n] - moved[1][n]).norm()) for n in moved[0]}
        total = math.hypot(*by_layer.values()) / claim.clip
        if not math.isfinite(total) or total >= worst:
            worst = total if math.isfinite(total) else math.inf
            where = max(by_layer, key=lambda n: by_layer[n])
    return Check(
        "sensitivity",
        worst <= 1.001,
        f"{worst:.4f} of the clip norm (mostly {where})",
        "at most 1",
        "gradients are clipped as a batch or after averaging, a layer is left out of the clipping "
        "or of the norm, or a batch is used more than once",
    )


def charging(claim: Claim, seed: int) -> Check:
    """Every step of a round is on the ledger, with its own noise and sample rate."""
    model, steps = claim.build(seed), 3
    asked = Asked(steps, claim.sample_rate, claim.noise_multiplier, path=(1, 0))
    _, ledger = descent(claim, model, claim.x, claim.y, asked, scale=1e-3)
    due = (Spent(claim.noise_multiplier, claim.sample_rate, steps),)
    return Check(
        "charging",
        ledger.entries == due,
        _entries(ledger.entries),
        _entries(due),
        "steps are taken that no ledger shows, or others are charged than were taken",
    )


def accounting(claim: Claim) -> list[Check]:
    """The run's ledgers hold every step of its rounds; dp-accounting agrees on what they cost."""
    if not claim.spent:
        return []
    short = [(sum(e.steps for e in x.entries), due) for x, due in claim.spent]
    missing = [(had, due) for had, due in short if had < due]
    checks = [
        Check(
            "ledgers",
            not missing,
            f"{len(missing)} of {len(short)} clients' ledgers are short"
            + (f", one by {missing[0][1] - missing[0][0]} steps" if missing else ""),
            "every step of every round",
            "a ledger was lost or begun anew: spending over rounds is not added up",
        )
    ]
    if claim.epsilon is not None:
        worst = max(peer_epsilon(x, claim.delta) for x, _ in claim.spent)
        checks.append(
            Check(
                "accounting",
                claim.epsilon >= 0.98 * worst,
                f"claimed {claim.epsilon:.4f}, by dp-accounting {worst:.4f}",
                "claimed at least 0.98 of dp-accounting's",
                "epsilon is computed for fewer steps, more noise or a smaller sample rate",
            )
        )
    return checks


def peer_epsilon(ledger: Ledger, delta: float) -> float:
    """Epsilon by Google's dp-accounting: privacy loss distributions, an analysis not Opacus's."""
    from dp_accounting import dp_event
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    for e in ledger.entries:
        if e.noise_multiplier == 0:
            return math.inf
        event = dp_event.PoissonSampledDpEvent(
            e.sample_rate, dp_event.GaussianDpEvent(e.noise_multiplier)
        )
        accountant.compose(event, e.steps)
    return float(accountant.get_epsilon(delta))


def _entries(entries: tuple[Spent, ...]) -> str:
    """For people."""
    each = [
        f"{e.steps} steps at sigma {e.noise_multiplier:g}, q {e.sample_rate:g}" for e in entries
    ]
    return "; ".join(each) or "nothing"


class _Canaries:
    """Canaries whose clipped gradients are orthogonal, through the shipped step.

    A linear model from zero: a record that is all in its own coordinate has its whole gradient
    there, far over the clip, and half for each of two classes, with opposite signs.
    """

    def __init__(self, claim: Claim, seed: int) -> None:
        self.steps = min(claim.steps, MAX_STEPS)
        self._claim = claim
        rng = np.random.default_rng(seed)
        self.member = rng.random(claim.canaries) < 0.5
        inside = np.flatnonzero(self.member)
        x = torch.zeros(len(inside), claim.canaries)
        x[torch.arange(len(inside)), torch.from_numpy(inside)] = HUGE
        y = torch.zeros(len(inside), dtype=torch.int64)
        ledger = Ledger()
        scores = np.zeros(claim.canaries)
        self.drawn = []
        for step in range(1, self.steps + 1):
            asked = Asked(
                1, claim.sample_rate, claim.noise_multiplier, path=(step, 0), ledger=ledger
            )
            seen = self._heard(x, y, asked)
            scores += likelihood(seen[None], claim.noise_multiplier, claim.sample_rate)
            if step <= 20:
                clean = self._heard(x, y, replace(asked, noise_multiplier=0.0, ledger=Ledger()))
                self.drawn.append(int((clean[self.member] > 0.5).sum()))
        self.epsilon = ledger.epsilon(claim.delta)
        claimed = (claim.noise_multiplier, claim.sample_rate, self.steps)
        self.bounds = bounds(scores, self.member, claimed, claim.delta, seed)

    def _heard(self, x: Tensor, y: Tensor, asked: Asked) -> NDArray:
        """One step's release in each canary's direction, in units of the clip norm [M]."""
        claim = self._claim
        model = nn.Sequential(nn.Flatten(), nn.Linear(claim.canaries, 2, bias=False))
        weight = model[1].weight
        nn.init.zeros_(weight)
        expected = asked.sample_rate * len(x)
        claim.device(model, x, y, replace(asked, learning_rate=expected / claim.clip))
        w = weight.detach().double()
        return ((w[0] - w[1]) / math.sqrt(2)).numpy()

    def sampling(self) -> Check:
        """Batch sizes vary as those of Poisson samples at the charged rate do."""
        n, q = int(self.member.sum()), self._claim.sample_rate
        drawn = np.array(self.drawn)
        total = int(drawn.sum())
        all_in = n * len(drawn)
        p_rate = 2 * min(binom.cdf(total, all_in, q), binom.sf(total - 1, all_in, q))
        spread = float(np.square(drawn - n * q).sum()) / max(n * q * (1 - q), 1e-12)
        p_spread = 1.0
        if q < 1:
            p_spread = 2 * min(chi2.cdf(spread, len(drawn)), chi2.sf(spread, len(drawn)))
        return Check(
            "sampling",
            bool(min(p_rate, p_spread) > LEVEL / 2),
            f"batches of {drawn.mean():.1f} with a deviation of {drawn.std():.1f}",
            f"{n * q:.1f} and {math.sqrt(n * q * (1 - q)):.1f}, within what chance allows",
            "batches are shuffled or of fixed size, or drawn at another rate than is charged: the "
            "amplification by sampling that epsilon counts on is not there",
        )

    def proves_too_much(self) -> Check:
        """No bound may exceed the epsilon of the audited steps."""
        worst = max(self.bounds, key=lambda b: b.epsilon)
        return Check(
            "canaries",
            worst.epsilon <= self.epsilon,
            f"epsilon is at least {worst.epsilon:.2f} ({worst.name})",
            f"at most {self.epsilon:.2f}, which is claimed for {self.steps} steps",
            "the mechanism protects less than claimed: see the checks above for why",
        )
