"""What is claimed of a device, and how an auditor makes it speak."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from privacy.ledger import Ledger

LEVEL = 1e-3  # of each check, shared among what it compares
HUGE = 1e4  # by which a record is scaled to be clipped wherever it can be

Release = dict[str, Tensor]
Heard = tuple[Release, Ledger]


class Device(Protocol):
    """One round of the shipped training code; momentum off, otherwise as shipped."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        *,
        steps: int,
        sample_rate: float,
        noise_multiplier: float,
        learning_rate: float,
        path: tuple[int, int],
        ledger: Ledger,
    ) -> None:
        """Train `model` in place on the records x, y; `path` is the round and the client."""


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
    claim: Claim, model: nn.Module, x: Tensor, y: Tensor, *, scale: float, **settings: Any
) -> Heard:
    """What one round takes off the weights, as a sum over records; `scale` is how far to go.

    The model itself stays as it was.
    """
    twin, ledger = copy.deepcopy(model), Ledger()
    before = weights_of(twin)
    expected = settings["sample_rate"] * len(x)
    claim.device(twin, x, y, learning_rate=scale * expected, ledger=ledger, **settings)
    after = weights_of(twin)
    return {n: (before[n] - after[n]).double() / scale for n in before}, ledger
