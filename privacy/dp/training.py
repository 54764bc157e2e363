"""DP-SGD on one device: sampler, clip, noise and accounting bound into one object.

`privatize` is the one door to Opacus. What it returns cannot be used in a way that breaks the
promise without reaching inside: batches are Poisson samples and are charged to the ledger before
they are handed out; the sum is divided by the batch size *expected* of a public number of records.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from privacy.cipher import Key, Stream
from privacy.dp.bookkeeping import OnePassOptimizer, require_row_a_record
from privacy.dp.budget import MOST_OF_NOMINAL, Budget
from privacy.dp.compiled import LOSSES, Program
from privacy.dp.ledger import Ledger
from privacy.dp.noise import Noise
from privacy.dp.opacus import GradSampleModule, ModuleValidator
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.passes import alone, in_pieces, padded, rows_of
from privacy.dp.rules import (
    RULES,
    SEQUENCES,
    Loss,
    losses_of,
    require_losses,
    require_outputs_apart,
    softmax_cross_entropy,
)
from privacy.dp.sampling import poisson
from privacy.dp.taps import trained_layers
from privacy.errors import BudgetExhausted, DataError, ModelError

Losses = Callable[[Tensor], Tensor]
Fetch = Callable[[Tensor], tuple[Tensor, Tensor]]

PIECE = 256  # records a backward pass: a large Poisson batch is walked through in pieces


class Private:
    """A model, its optimizer and its data under one budget. Made by `privatize`."""

    def __init__(
        self,
        model: nn.Module | Program,
        optimizer: GridOptimizer,
        ledger: Ledger,
        *,
        budget: Budget,
        sample_rate: float,
        num_records: int,
        sampling: Key,
        piece: int | None = None,
        rows: int | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._ledger = ledger
        self._budget = budget
        self._sample_rate = sample_rate
        self._num_records = num_records
        self._sampling = Stream(sampling)
        self._piece = piece
        self._rows = rows  # of each pass of `classify`, filled up
        self._batch: Tensor | None = None  # handed out, charged, and not yet used
        self._seen_apart = False  # have two records been looked at, each without the other?

    @property
    def ledger(self) -> Ledger:
        """Every step so far, this object's included."""
        return self._ledger

    def batches(self, steps: int) -> Iterator[Tensor]:
        """Yield `steps` Poisson samples of record indices (int64, may be empty).

        Raises:
            BudgetExhausted: before anything is computed, if `steps` more would overspend; later,
                if someone else has charged the ledger meanwhile.
        """
        sigma = self._optimizer.noise_multiplier
        self._require_budget(steps)
        expected = self._ledger.entries
        for done in range(steps):
            if self._ledger.entries != expected:
                self._require_budget(steps - done)
            self._ledger.charge(sigma, self._sample_rate)
            expected = self._ledger.entries
            self._batch = poisson(self._sampling, self._num_records, self._sample_rate)
            yield self._batch

    def _require_budget(self, steps: int) -> None:
        budget, sigma = self._budget, self._optimizer.noise_multiplier
        planned = self._ledger.with_charge(sigma, self._sample_rate, steps)
        if budget.epsilon is not None and not planned.within(budget.epsilon, budget.delta):
            raise BudgetExhausted(
                f"epsilon {self._ledger.epsilon(budget.delta):.4g} is spent and {steps} more steps "
                f"would bring it to {planned.epsilon(budget.delta):.4g}, over {budget.epsilon:g}"
            )

    def step(self, losses: Losses, indices: Tensor) -> None:
        """One noisy step on the records `indices`.

        Args:
            losses: maps record indices [B] to the losses of each, [B], each of its own record only.
            indices: the batch that `batches` has just handed out, possibly empty.

        Raises:
            ValueError: another batch, or the same one again: it would not be charged.
            ModelError: a layer saw something else than one row a record, there is not one loss a
                record, or the model is compiled.
        """
        self._step(losses, indices)

    def _step(self, losses: Losses, indices: Tensor, rows: int | None = None) -> None:
        if isinstance(self._model, Program):
            raise ModelError("a compiled program takes no losses of the model: use classify")
        pieces = self._begin(indices)
        if isinstance(self._optimizer, OnePassOptimizer):
            for piece in pieces:
                _backward(losses, piece)
                self._optimizer.accumulate(rows or len(piece))
        else:
            for i, piece in enumerate(pieces or [indices]):
                if i:
                    self._optimizer.signal_skip_step(True)
                    self._optimizer.step()
                    self._optimizer.zero_grad()
                _backward(losses, piece)
                for gradients in self._optimizer.grad_samples:
                    require_row_a_record(len(gradients), len(piece))
            self._optimizer.signal_skip_step(False)
        self._optimizer.step()

    def classify(self, fetch: Fetch, indices: Tensor, loss: Loss = softmax_cross_entropy) -> None:
        """One noisy step of a loss, softmax cross-entropy if no other.

        A loss of the user's is called with one record at a time, so that none can mix them; and a
        model is refused in which what comes out for a record depends on who is beside it.

        Args:
            fetch: maps record indices [B] to inputs [B, ...] and targets: labels int64 [B], or
                what `loss` reads, [B, ...].
            indices: as for `step`.
            loss: maps outputs [1, ...] and targets [1, ...] of a record to its loss, [1].

        Raises:
            ValueError: as `step`; a loss that a compiled program does not know.
            ModelError: as `step`; the model mixes records.
        """
        if isinstance(self._model, Program):
            if loss not in LOSSES:
                raise ValueError("a compiled program has no kernel for this loss; give the model")
            assert isinstance(self._optimizer, OnePassOptimizer)
            for piece in self._begin(indices):
                self._optimizer.accumulate_compiled(*fetch(piece), loss)
            self._optimizer.step()
            return
        model, rows = self._model, self._rows
        if not self._seen_apart and indices is self._batch and len(indices) > 1:
            require_outputs_apart(model, fetch, indices[:2])
            self._seen_apart = True

        def losses(piece: Tensor) -> Tensor:
            x, targets = fetch(piece)
            outputs = model(x) if rows is None else alone(model(padded(x, rows)), len(x), rows)
            return losses_of(loss, outputs, targets)

        self._step(losses, indices, rows)

    def _begin(self, indices: Tensor) -> list[Tensor]:
        """Take a batch as used, and cut it in pieces."""
        if indices is not self._batch:
            raise ValueError("not the batch that was handed out: its step is on no ledger")
        self._batch = None
        self._forget()
        if not len(indices):
            return []
        if self._piece and not self._rows:
            return list(in_pieces(indices, self._piece))
        return list(indices.split(self._rows or PIECE))

    def _forget(self) -> None:
        """Leave no trace of a step that failed half-way."""
        self._optimizer._step_skip_queue.clear()
        self._optimizer._is_last_step_skipped = False
        self._optimizer.zero_grad()

    def close(self) -> None:
        """Give the model back as it was before `privatize`."""
        if isinstance(self._optimizer, OnePassOptimizer):
            self._optimizer.detach()
        elif isinstance(self._model, GradSampleModule):
            self._model.to_standard_module()


def _backward(losses: Losses, piece: Tensor) -> None:
    found = losses(piece)
    require_losses(found, len(piece))
    found.sum().backward()


def privatize(
    model: nn.Module | Program,
    optimizer: torch.optim.Optimizer,
    ledger: Ledger,
    *,
    budget: Budget,
    sample_rate: float,
    num_records: int,
    sampling: Key,
    noise: Key,
    nominal_records: int | None = None,
    per_sample: str = "onepass",
    before_update: Callable[[], None] | None = None,
    kept: Mapping[nn.Parameter, Tensor] | None = None,
    piece: int | None = None,
) -> Private:
    """Bind a model and its optimizer to a budget.

    Args:
        model: trained in place; a compiled program takes steps of `classify` only.
        optimizer: over the model's trainable parameters, or the program's `flat`.
        ledger: what was spent before on the same records; charged from now on.
        budget: `unit = "record"`, with its noise multiplier solved.
        sample_rate: probability q of each record to be in a batch.
        num_records: size of the private data set.
        sampling, noise: from which batches and noise follow; who knows them, knows those.
        nominal_records: a public number, by whose share `sample_rate` the sum is divided; without
            one that of `num_records`, which must then be public itself. Those may be up to
            `MOST_OF_NOMINAL` times as many.
        per_sample: how a model's gradients are clipped: `onepass` (privacy.dp.bookkeeping) or
            Opacus's own `hooks`.
        before_update: called when `p.grad` holds the noisy mean, before the step; for terms that
            do not depend on the data.
        kept: of pruned parameters, like each: 1 where it is trained, 0 where it is pruned; that is
            no part of a record's norm, so that what is left is clipped less, for the same promise.
        piece: records of a backward pass, if not `PIECE`; on a GPU, the most of one.

    Raises:
        ModelError: the model mixes records (BatchNorm), or a layer has no per-sample rule.
        DataError: many more records than the nominal number: what is counted for rounding would
            not hold.
    """
    if nominal_records and num_records > MOST_OF_NOMINAL * nominal_records:
        raise DataError(
            f"[data] nominal_records = {nominal_records}: a client has more than "
            f"{MOST_OF_NOMINAL} times as many; give a number nearer to what clients have"
        )
    if budget.unit != "record" or budget.noise_multiplier is None:
        raise ValueError("privatize needs unit = 'record' and a solved noise multiplier")
    if isinstance(model, Program):
        trained = {id(model.flat)}
    else:
        require_private(model, per_sample)
        trained = {id(p) for p in model.parameters() if p.requires_grad}
    if trained != {id(p) for group in optimizer.param_groups for p in group["params"]}:
        raise ModelError("the optimizer must hold the model's trainable parameters and no others")
    expected = sample_rate * (nominal_records or num_records)
    if isinstance(model, Program) or per_sample == "onepass":
        private: GridOptimizer = OnePassOptimizer(
            model,
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.clip,
            expected_batch_size=expected,
            most_expected=expected * (MOST_OF_NOMINAL if nominal_records else 1),
            noise=Noise(noise),
            kept=kept,
        )
    else:
        # Opacus asks for the hook that torch warns of; a person can do nothing about it.
        warnings.filterwarnings("ignore", message="Using a non-full backward hook")
        model = GradSampleModule(model, loss_reduction="sum")
        private = GridOptimizer(
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.clip,
            expected_batch_size=expected,
            noise=Noise(noise),
            kept=kept,
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
        piece=piece,
        rows=rows_of(expected, piece or PIECE) if private.fills_passes else None,
    )


def require_private(model: nn.Module, per_sample: str = "onepass") -> None:
    """Refuse a model that DP-SGD cannot protect, or not by this way of clipping.

    Raises:
        ModelError: names the layer and the remedy.
    """
    for error in _objections(model):
        reason = error.split(". ")[0].split("\n")[0].rstrip(".")
        raise ModelError(
            f"not DP-safe: {reason}; use [model] norm = 'group' or 'none', and in a model of your "
            "own GroupNorm"
        )
    for layer in trained_layers(model):
        if per_sample == "hooks" and (
            type(layer) not in (GradSampleModule.GRAD_SAMPLERS.keys() | RULES.keys())
            or getattr(layer, "padding_mode", "zeros") != "zeros"
        ):
            raise ModelError(f"Opacus has no hook for {layer}; use per_sample = 'onepass'")


def _objections(model: nn.Module) -> Iterator[str]:
    """Opacus's, save those against layers that it cannot see into and we can."""
    if not model.training:
        yield "Model needs to be in training mode"
    for layer in model.modules():
        validate = ModuleValidator.VALIDATORS.get(type(layer))
        if (
            validate
            and type(layer) not in SEQUENCES
            and any(p.requires_grad for p in layer.parameters())
        ):
            yield from map(str, validate(layer))
