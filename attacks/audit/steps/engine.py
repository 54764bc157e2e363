"""Opacus's private model, optimizer and loader, as a function that an auditor can ask.

from attacks.audit.steps.engine import of_engine

def private(x, y, noise_multiplier=1.0, sample_rate=0.1):  # tensors, as any Opacus loop begins
    model = Net()
    ...
    return PrivacyEngine().make_private(module=model, optimizer=..., data_loader=..., ...)

make = of_engine(private, steps=100)

What is released are the weights, less the first ones, of plain SGD; and of an optimizer that keeps
more than weights (momentum, Adam), or where the learning rate follows a schedule (`sums=True`), the
noisy gradients that it was given, summed over the steps: what it makes of them is post-processing.

Of `grad_sample_mode="ghost"` return (model, optimizer, criterion, loader) as Opacus does. A loop of
your own, say through BatchMemoryManager, is `train(model, optimizer, loader, criterion, steps)`.
"""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

Train = Callable[[nn.Module, Any, Any, Any, int], None]


def of_engine(
    private: Callable[..., tuple[Any, ...]],
    *,
    steps: int,
    noise_multiplier: float = 1.0,
    sample_rate: float = 0.1,
    loss: Callable[..., torch.Tensor] | None = None,
    train: Train | None = None,
    first: int = 0,
    sums: bool | None = None,
) -> Callable[..., dict[str, NDArray]]:
    """A function for `audit_step`.

    Args:
        private: (x, y, noise_multiplier, sample_rate) -> what `make_private` returns.
        steps, noise_multiplier, sample_rate: those of the training.
        loss: of outputs and targets, a mean; by default cross-entropy.
        train: the loop, if it is yours.
        first: seed of the first weights, the same whatever the noise.
        sums: release the noisy gradients' sums, not weights; None: where the optimizer keeps more.
    """
    criterion = loss or nn.CrossEntropyLoss()

    def make(
        records: NDArray,
        labels: NDArray,
        seed: int,
        noise_multiplier: float = noise_multiplier,
        sample_rate: float = sample_rate,
        steps: int = steps,
    ) -> dict[str, NDArray]:
        x, y = torch.as_tensor(records, dtype=torch.float32), torch.as_tensor(labels)
        torch.manual_seed(first)
        model, optimizer, *between, loader = private(x, y, noise_multiplier, sample_rate)
        before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        plain = _is_plain(optimizer) if sums is None else not sums
        given = None if plain else _Given(optimizer)
        torch.manual_seed(seed)
        (train or descend)(model, optimizer, loader, between[0] if between else criterion, steps)
        moved = dict(model.named_parameters())
        if given:
            return {n: given.sums[moved[n]].numpy() for n in before}
        return {n: (before[n] - moved[n].detach()).numpy() for n in before}

    return make


def _is_plain(optimizer: Any) -> bool:
    """Does a step follow from its gradients alone?"""
    inner = optimizer.original_optimizer
    return isinstance(inner, torch.optim.SGD) and not any(
        group["momentum"] or group["weight_decay"] for group in inner.param_groups
    )


class _Given:
    """The noisy gradients that Opacus gives to its optimizer, summed over the steps."""

    def __init__(self, optimizer: Any) -> None:
        self.sums = {p: torch.zeros_like(p) for p in optimizer.params}
        optimizer.attach_step_hook(self._add)  # in the accountant's place

    def _add(self, optimizer: Any) -> None:
        for parameter, total in self.sums.items():
            total += parameter.grad


def descend(model: nn.Module, optimizer: Any, loader: Any, criterion: Any, steps: int) -> None:
    """So many steps, over as many epochs as they take."""
    done = 0
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            done += 1
            if done == steps:
                return
