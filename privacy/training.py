"""DP-SGD on one device: sampler, clip, noise and accounting bound into one object.

`privatize` is the one door to Opacus. What it returns cannot be used in a way that breaks the
promise without reaching inside: batches are Poisson samples and are charged to the ledger before
they are handed out; the sum is divided by the *expected* batch size.
"""

from collections.abc import Callable, Iterator

import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from privacy.bookkeeping import OnePassOptimizer, trained_layers
from privacy.budget import Budget
from privacy.errors import BudgetExhausted, ModelError
from privacy.ledger import Ledger

Loss = Callable[[Tensor], Tensor]

PIECE = 512  # records a backward pass: a large Poisson batch is walked through in pieces


class Private:
    """A model, its optimizer and its data under one budget. Made by `privatize`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: DPOptimizer,
        ledger: Ledger,
        *,
        budget: Budget,
        sample_rate: float,
        num_records: int,
        sampling: torch.Generator,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._ledger = ledger
        self._budget = budget
        self._sample_rate = sample_rate
        self._num_records = num_records
        self._sampling = sampling

    @property
    def ledger(self) -> Ledger:
        """Every step so far, this object's included."""
        return self._ledger

    def batches(self, steps: int) -> Iterator[Tensor]:
        """Yield `steps` Poisson samples of record indices (int64, may be empty).

        Raises:
            BudgetExhausted: before anything is computed, if `steps` more would overspend.
        """
        sigma = self._optimizer.noise_multiplier
        budget, planned = self._budget, self._ledger.with_charge(sigma, self._sample_rate, steps)
        if budget.epsilon is not None and not planned.within(budget.epsilon, budget.delta):
            raise BudgetExhausted(
                f"epsilon {self._ledger.epsilon(budget.delta):.4g} is spent and {steps} more steps "
                f"would bring it to {planned.epsilon(budget.delta):.4g}, over {budget.epsilon:g}"
            )
        sampler = UniformWithReplacementSampler(
            num_samples=self._num_records,
            sample_rate=self._sample_rate,
            generator=self._sampling,
            steps=steps,
        )
        for indices in sampler:
            self._ledger.charge(sigma, self._sample_rate)
            yield torch.tensor(indices, dtype=torch.int64)

    def step(self, loss: Loss, indices: Tensor) -> None:
        """One noisy step on the records `indices`.

        Args:
            loss: maps record indices [B] to the losses of each, [B].
            indices: a batch from `batches`, possibly empty.
        """
        self._optimizer.zero_grad()
        pieces = list(indices.split(PIECE)) if len(indices) else []
        if isinstance(self._optimizer, OnePassOptimizer):
            for piece in pieces:
                loss(piece).sum().backward()
                self._optimizer.accumulate()
        else:
            for i, piece in enumerate(pieces or [indices]):
                if i:
                    self._optimizer.signal_skip_step(True)
                    self._optimizer.step()
                    self._optimizer.zero_grad()
                loss(piece).sum().backward()
            self._optimizer.signal_skip_step(False)
        self._optimizer.step()

    def close(self) -> None:
        """Give the model back as it was before `privatize`."""
        if isinstance(self._optimizer, OnePassOptimizer):
            self._optimizer.detach()
        elif isinstance(self._model, GradSampleModule):
            self._model.to_standard_module()


def privatize(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    *,
    budget: Budget,
    sample_rate: float,
    num_records: int,
    sampling: torch.Generator,
    noise: torch.Generator,
    per_sample: str = "onepass",
    before_update: Callable[[], None] | None = None,
) -> Private:
    """Bind a model and its optimizer to a budget.

    Args:
        model: trained in place.
        optimizer: over the model's trainable parameters.
        ledger: what was spent before on the same records; charged from now on.
        budget: `unit = "record"`, with its noise multiplier solved.
        sample_rate: probability q of each record to be in a batch.
        num_records: size of the private data set.
        sampling, noise: sources of randomness, never shared.
        per_sample: `onepass` (privacy.bookkeeping) or `hooks` (Opacus's GradSampleModule).
        before_update: called when `p.grad` holds the noisy mean, before the step; for terms that
            do not depend on the data.

    Raises:
        ModelError: the model mixes records (BatchNorm), or a layer has no per-sample rule.
    """
    if budget.unit != "record" or budget.noise_multiplier is None:
        raise ValueError("privatize needs unit = 'record' and a solved noise multiplier")
    require_private(model)
    expected = sample_rate * num_records
    if per_sample == "onepass":
        private: DPOptimizer = OnePassOptimizer(
            model,
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.clip,
            expected_batch_size=expected,
            generator=noise,
        )
    else:
        model = GradSampleModule(model, loss_reduction="sum")
        private = DPOptimizer(
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.clip,
            expected_batch_size=expected,
            generator=noise,
        )
    if before_update is not None:
        private.attach_step_hook(lambda _: before_update())
    return Private(
        model,
        private,
        ledger,
        budget=budget,
        sample_rate=sample_rate,
        num_records=num_records,
        sampling=sampling,
    )


def require_private(model: nn.Module) -> None:
    """Refuse a model that DP-SGD cannot protect.

    Raises:
        ModelError: names the layer and the remedy.
    """
    for error in ModuleValidator.validate(model, strict=False):
        reason = str(error).split(". ")[0].split("\n")[0].rstrip(".")
        raise ModelError(f"not DP-safe: {reason}; use [model] norm = 'group' or 'none'")
    list(trained_layers(model))
