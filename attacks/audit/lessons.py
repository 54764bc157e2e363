"""What records can teach under each task: nothing at all, or very much.

An auditor's quiet records have targets of zero: class 0, no label, the middle of a number's range,
the record itself. A model that a bias makes certain of class 0, or of no label, stays so whatever
noise is added to it. No other model is: it is given records all but without content, and noise may
take it only so little away from weights of zero that nothing it learns reaches the public grid.

Shapes: N records, K outputs.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

CERTAIN = 110.0  # a bias after which softmax and sigmoid are exact, and every gradient exactly 0
NEAR = 2.0**-40  # of what is heard elsewhere: far below a step of the grid, far above float32's end


class Taught(Protocol):
    """What of a claim decides it: the task, and some records as a device has them."""

    @property
    def task(self) -> str:
        """One of `clients.data.tasks.TASKS`."""

    @property
    def x(self) -> Tensor:
        """Inputs [N, ...]."""

    @property
    def y(self) -> Tensor:
        """Targets."""


def _first(bias: Tensor, certainty: float, _: Tensor) -> None:
    bias.zero_()
    bias[0] = certainty


def _all_but_first(bias: Tensor, certainty: float, x: Tensor) -> None:
    if len(bias) == x[0].numel():
        bias.copy_(x[0].flatten())
    bias[0] = math.exp(-certainty)


# From the last bias and the records: what makes a model nearly right, as far as exp(-certainty).
BIASES: dict[str, Callable[[Tensor, float, Tensor], object]] = {
    "classes": _first,
    "labels": lambda bias, certainty, _: bias.fill_(-certainty),
    "number": lambda bias, certainty, _: bias.fill_(math.exp(-certainty)),
    "itself": _all_but_first,
}
SATURATING = ("classes", "labels")  # tasks of which a model can be certain
LEAST = {"labels": 0.0, "number": -1.0, "itself": -1.0}  # that a target can be
FARTHEST: dict[str, Callable[[Tensor], Tensor]] = {  # from outputs [K], of what a target can be
    "classes": lambda outputs: outputs.argmin(),
    "labels": lambda outputs: (outputs < 0).float(),
    "number": lambda outputs: torch.where(outputs < 0, 1.0, -1.0),
    "itself": lambda outputs: outputs[:0],  # the record itself, wherever it is
}


def quiet_targets(about: Taught, num: int) -> Tensor:
    """Zeros: class 0 [N], or [N, K]; none [N, 0] of records that are told by themselves."""
    if about.task == "classes":
        return torch.zeros(num, dtype=torch.int64)
    return torch.zeros(num, about.y.shape[1])


def quiet_records(about: Taught, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Records that teach a silenced model nothing, and differ where `x` do."""
    return x * reach(model, about.task), quiet_targets(about, len(x))


def loud_targets(about: Taught, num: int, outputs: int) -> Tensor:
    """Where all of a model's outputs are zero, they make the first one more, and others less."""
    if about.task == "classes":
        return torch.zeros(num, dtype=torch.int64)
    y = torch.full((num, outputs), LEAST[about.task])
    y[:, 0] = 1.0
    return y


def alike(about: Taught, x: Tensor) -> Tensor:
    """Records that one model can be right of, all at once, but for the first number of itself."""
    if about.task != "itself":
        return x
    x = x[:1].repeat(len(x), *[1] * (x.dim() - 1))
    x.flatten(1)[:, 0] = 0.0
    return x


def silenced(model: nn.Module, task: str) -> nn.Module:
    """Weights of zero, and a bias that makes the model certain of targets of zero, if one can.

    So what a round of quiet records takes off the weights is noise and nothing else, read without
    loss from weights that were zero.
    """
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        if is_certain(model, task):
            last = list(model.parameters())[-1]
            BIASES[task](last, CERTAIN, last)
    return model


def is_certain(model: nn.Module, task: str) -> bool:
    """Has the model a last bias, of a task that can be certain?"""
    name, last = list(model.named_parameters())[-1]
    return task in SATURATING and last.dim() == 1 and name.endswith("bias")


def reach(model: nn.Module, task: str) -> float:
    """How far noise may take a silenced model, as a share of what one that is certain bears."""
    return 1.0 if is_certain(model, task) else NEAR
