"""What is claimed of a device, and how an auditor makes it speak."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from privacy.dp.ledger import Ledger

LEVEL = 1e-3  # of each check, shared among what it compares
HUGE = 1e4  # by which a record is scaled to be clipped wherever it can be

Release = dict[str, Tensor]
Heard = tuple[Release, Ledger]


@dataclass(frozen=True, eq=False)
class Asked:
    """One round, as the auditor asks for it.

    Attributes:
        path: the round and the client.
        ledger: charged as the device's own is.
    """

    steps: int
    sample_rate: float
    noise_multiplier: float
    path: tuple[int, int]
    learning_rate: float = 1.0
    ledger: Ledger = field(default_factory=Ledger)


# The shipped training code, momentum off: trains the model in place on the records x, y.
Device = Callable[[nn.Module, Tensor, Tensor, Asked], None]


@dataclass(frozen=True, eq=False)
class Claim:
    """What is claimed, and what to hold it against.

    Attributes:
        device: the shipped code.
        build: a fresh model of the run from a seed.
        x, y: some records, as the model reads them.
        steps: noisy steps of one client in the whole run.
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
    spent: tuple[tuple[Ledger, int], ...] = ()
    epsilon: float | None = None
    canaries: int = 4000


@dataclass(frozen=True)
class Check:
    """One test: what was measured, what it should be, and what a failure usually means."""

    name: str
    passed: bool
    measured: str
    expected: str
    meaning: str


def weights_of(model: nn.Module) -> Release:
    """The trained parameters, as they are now."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def descent(
    claim: Claim, model: nn.Module, x: Tensor, y: Tensor, asked: Asked, *, scale: float
) -> Heard:
    """What one round takes off the weights, as a sum over records; `scale` is how far to go.

    The model itself stays as it was.
    """
    twin = copy.deepcopy(model)
    before = weights_of(twin)
    expected = asked.sample_rate * len(x)
    claim.device(twin, x, y, replace(asked, learning_rate=scale * expected))
    after = weights_of(twin)
    return {n: (before[n] - after[n]).double() / scale for n in before}, asked.ledger
