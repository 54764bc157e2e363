"""What is claimed of a device, and how an auditor makes it speak."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from privacy.dp.ledger import Ledger

LEVEL = 1e-4  # of each check, shared among what it compares
HUGE = 1e4  # by which a record is scaled to be clipped wherever it can be
NOWHERE = "there is no weight that no record moves, where noise is heard alone"
RARE = 1e-12  # a rate at which nobody is drawn

Release = dict[str, Tensor]
Heard = tuple[Release, Ledger]


@dataclass(frozen=True, eq=False)
class Asked:
    """One round, as the auditor asks for it.

    Attributes:
        path: the round and the client.
        learning_rate: of each step; momentum and all else are the run's.
        clip: another than the claimed one; None leaves it.
        seed: of a seeded run.
        secret: the device's key is the operating system's, also where the run's is seeded.
        plain: records are taken as they are, not distorted.
        crowd: the records are taken to be so many, all of them copies; 0 takes them as they are.
        without: the place of a record that is not there; the others keep theirs.
        nominal: public number of records, which divides; 0 takes as many as there are.
        ledger: charged as the device's own is.
    """

    steps: int
    sample_rate: float
    noise_multiplier: float
    path: tuple[int, int]
    learning_rate: float = 1.0
    clip: float | None = None
    seed: int = 0
    secret: bool = False
    plain: bool = False
    crowd: int = 0
    without: int | None = None
    nominal: int = 0
    ledger: Ledger = field(default_factory=Ledger)


# The shipped code: trains the model in place on the records x, y.
Device = Callable[[nn.Module, Tensor, Tensor, Asked], None]


@dataclass(frozen=True, eq=False)
class Claim:
    """What is claimed, and what to hold it against.

    Attributes:
        device: the shipped code, as the run uses it.
        build: a fresh model of the run from a seed.
        x, y: some records, as the model reads them.
        task: what the model is to say of them.
        steps: noisy steps of one client in the whole run.
        momentum, proximal: of the device's optimizer, and of FedProx.
        others: the shipped code under settings that differ from the run's in one thing each.
        secure: the noise is of the operating system.
        twins: without its noise, a round adds up the same sum.
        beside: checks of what stands around the step: the node, the server.
        calls: of the device, that runs of canaries may take.
        step: of the public grid, from clip and number of weights; None if there is no grid.
        spent: ledgers of the run's clients, with the steps that its rounds say they made; empty
            for an experiment that was not run.
        epsilon: what the run claims; None if it was not run.
        canaries: how many records the auditor makes up.
    """

    device: Device
    build: Callable[[int], nn.Module]
    x: Tensor
    y: Tensor
    clip: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    delta: float
    momentum: float = 0.0
    proximal: float = 0.0
    others: Mapping[str, Device] = field(default_factory=dict)
    secure: bool = False
    twins: bool = False
    beside: tuple["Check", ...] = ()
    calls: int = 1500
    step: Callable[[float, int], float] | None = None
    spent: tuple[tuple[Ledger, int], ...] = ()
    epsilon: float | None = None
    canaries: int = 1000
    task: str = "classes"


@dataclass(frozen=True)
class Check:
    """One test: what was measured, what it should be, and what a failure usually means."""

    name: str
    passed: bool
    measured: str
    expected: str
    meaning: str


@dataclass(frozen=True)
class NotApplicable:
    """A test that cannot be made of such a claim, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.name}: not applicable: {self.why}"


def weights_of(model: nn.Module) -> Release:
    """The trained parameters, as they are now."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def descent(
    claim: Claim,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    asked: Asked,
    *,
    scale: float,
    device: Device | None = None,
) -> Heard:
    """What one round takes off the weights, as a sum over records; `scale` is how far to go.

    The model stays as it was.
    """
    before = weights_of(model)
    expected = asked.sample_rate * (asked.nominal or asked.crowd or len(x))
    (device or claim.device)(model, x, y, replace(asked, learning_rate=scale * expected))
    taken = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in before:
                taken[name] = (before[name].double() - p.double()) / scale
                p.copy_(before[name])
    return taken, asked.ledger


def flat(release: Mapping[str, Tensor]) -> Tensor:
    """All its numbers in one row."""
    return torch.cat([v.flatten() for v in release.values()])


def amplification(steps: int, momentum: float, pull: float = 0.0) -> float:
    """Deviation of what `steps` steps of unit noise take off the weights under SGD with momentum.

    Args:
        pull: learning rate times FedProx's mu, by which each step draws the weights back.
    """
    total = 0.0
    for struck in range(steps):  # the noise of one step, followed to the end of the round
        moved = velocity = 0.0
        for step in range(struck, steps):
            gradient = (step == struck) - pull * moved
            velocity = momentum * velocity + gradient
            moved += velocity
        total += moved**2
    return math.sqrt(total)
