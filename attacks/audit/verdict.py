"""Audit: does the mechanism that shipped do what it claims?

The auditor has a `Device`: the shipped code for one round of training, on records and weights of
the auditor's choice. What a device releases is compared with what its ledger charges.

- *noise*: where a model learns nothing, what it releases is the noise: of the charged deviation,
  Gaussian, on a public grid, and never used twice, nor under other data or settings.
- *sensitivity*: twins of the same secrets, with and without one record anywhere in the batch, must
  differ by no more than the clip.
- *keys*: every byte of 256 bits must alter the noise.
- *sampling*, *accounting*: batches are Poisson samples at the charged rate; steps are charged.
- *canaries*: an attack may not prove more than what is claimed.

Each check alone misses faults that another finds. All of them are tests at a level so strict that a
correct mechanism fails any of them in less than one audit in a hundred.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from attacks.audit.canaries import Bound
from attacks.audit.claim import Asked, Check, Claim, NotApplicable, descent
from attacks.audit.keys import width
from attacks.audit.noise import Noise
from attacks.audit.planted import Planted
from attacks.audit.repetition import repetition
from attacks.audit.sampling import rare, sampling
from attacks.audit.sensitivity import divisor, sensitivity
from privacy.dp.ledger import Ledger, Spent


@dataclass(frozen=True)
class Audit:
    """All checks, and the lower bounds on epsilon of the audited steps.

    Attributes:
        not_examined: what this audit could not run, and so says nothing about.
    """

    checks: list[Check]
    bounds: list[Bound]
    steps: int
    epsilon: float
    not_examined: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Did every check?"""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"passed": self.passed, **asdict(self)}


class Evidence:
    """What an audit has heard so far; each part is gathered when the first check asks for it."""

    def __init__(self, claim: Claim, seed: int) -> None:
        self.claim, self.seed = claim, seed

    @cached_property
    def noise(self) -> Noise:
        """Rounds of silent records."""
        return Noise(self.claim, self.seed)

    @cached_property
    def planted(self) -> Planted:
        """Runs of canaries."""
        return Planted(self.claim, self.seed)


CHECKS: dict[str, Callable[[Evidence], Sequence[Check | NotApplicable]]] = {
    "noise deviation": lambda e: [e.noise.deviation()],
    "noise law": lambda e: [e.noise.law(e.planted.noise)],
    "noise grid": lambda e: [e.noise.grid()],
    "noise repetition": lambda e: [repetition(e.claim, e.seed)],
    "key width": lambda e: [width(e.claim, e.seed)],
    "sensitivity": lambda e: sensitivity(e.claim, e.seed),
    "public divisor": lambda e: [divisor(e.claim, e.seed)],
    "sampling": lambda e: [sampling(e.claim, e.planted, e.seed)],
    "sampling of the rare": lambda e: [rare(e.claim, e.seed)] if e.claim.sample_rate < 1 else [],
    "charging": lambda e: [charging(e.claim, e.seed)],
    "beside": lambda e: list(e.claim.beside),
    "accounting": lambda e: accounting(e.claim),
    "canaries": lambda e: [e.planted.proves_too_much()],
}


def audit(claim: Claim, seed: int = 0) -> Audit:
    """Run every check on a claim of DP-SGD, whose records may be whole clients."""
    evidence = Evidence(claim, seed)
    found = [one for run in CHECKS.values() for one in run(evidence)]
    checks = [one for one in found if isinstance(one, Check)]
    planted = evidence.planted
    left_out = [str(one) for one in found if isinstance(one, NotApplicable)]
    return Audit(checks, planted.bounds, planted.steps, planted.epsilon, left_out)


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
