"""The optimizers of a device, by name."""

from typing import Any

import torch
from torch import Tensor

from clients.training.job import Job
from clients.training.net import Net


class FlatSGD:
    """`torch.optim.SGD` with momentum, on the one flat parameter of a compiled net.

    torch's own imports its compiler with the first step (more than a second), and the formalities
    of each later one take longer than a small client's gradient. Opacus's optimizer asks for no
    more than is here.
    """

    def __init__(self, flat: Tensor, lr: float, momentum: float) -> None:
        self.defaults: dict[str, Any] = {"lr": lr, "momentum": momentum}
        self.param_groups: list[dict[str, Any]] = [{"params": [flat], **self.defaults}]
        self.state: dict[Any, Any] = {}
        self._velocity: Tensor | None = None

    def step(self, closure: object = None) -> None:
        """One step along `flat.grad`, which stays as it is."""
        (group,) = self.param_groups
        (flat,) = group["params"]
        direction: Tensor = flat.grad
        if group["momentum"]:
            if self._velocity is None:
                self._velocity = direction.clone()
            else:
                self._velocity.mul_(group["momentum"]).add_(direction)
            direction = self._velocity
        flat.data.add_(direction, alpha=-group["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradient."""
        self.param_groups[0]["params"][0].grad = None


def optimizer_of(net: Net, job: Job, learning_rate: float) -> Any:
    """The job's optimizer of a net, with nothing in its memory."""
    training = job.training
    if training.optimizer == "adam":
        return torch.optim.Adam(net.parameters, lr=learning_rate)
    if net.program is not None:
        return FlatSGD(net.program.flat, learning_rate, training.momentum)
    return torch.optim.SGD(net.parameters, lr=learning_rate, momentum=training.momentum)
