"""One-pass per-sample clipping under Opacus's optimizer (book-keeping: Bu et al. 2022).

Opacus's hooks materialise one gradient a sample and a parameter, B x |W| numbers. Here one backward
pass leaves, at each layer, its input x and the gradient g of its output. From the two follow, by
the layer's rule (`privacy.dp.rules`), the per-sample norms and, once the clip factors are known,
the clipped sum. The ordinary weight gradient is never computed.

It is a `GridOptimizer` of Opacus's kind, which adds the noise for all parameters at once. A
compiled program takes the place of autograd where `privacy.dp.compiled` has one.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from privacy.dp.compiled import Program
from privacy.dp.noise import Noise
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.rules import RULES, Share
from privacy.errors import ModelError


class Record(NamedTuple):
    """What one layer leaves behind in one backward pass."""

    layer: nn.Module
    x: Tensor
    g: Tensor


def trained_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that own trainable parameters.

    Raises:
        ModelError: one has no per-sample rule, shares a parameter, or is frozen in part.
    """
    seen: set[int] = set()
    for name, layer in model.named_modules():
        own = list(layer.parameters(recurse=False))
        if not any(p.requires_grad for p in own):
            continue
        if type(layer) not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise ModelError(
                f"layer {name} ({type(layer).__name__}): no per-sample gradient rule; use one of "
                f"{known}, or register one in privacy.dp.rules.RULES"
            )
        if not all(p.requires_grad for p in own):
            raise ModelError(f"layer {name}: frozen in part; freeze all of its parameters or none")
        if not seen.isdisjoint(map(id, own)):
            raise ModelError(f"layer {name}: shares a parameter with another; untie them")
        seen.update(map(id, own))
        yield layer


def require_row_a_record(rows: int, num_records: int) -> None:
    """Refuse, by ModelError, a layer in whose batch records do not stand one by one."""
    if rows != num_records:
        raise ModelError(
            f"a layer saw {rows} rows for {num_records} records: keep the batch first and whole, "
            "and put positions in a later axis"
        )


class _Tap(torch.autograd.Function):
    """The identity, which on its way back notes the gradient of a layer's output.

    Its argument goes on marked as changed, not as a view: so activations may work in place."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, anchor: Tensor, layer: nn.Module, x: Tensor, out: list[Record]
    ) -> Tensor:
        ctx.note = (layer, x, x._version, out)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        layer, x, version, out = ctx.note
        if x._version != version:
            raise ModelError(f"{type(layer).__name__}: its input was changed in place after it")
        out.append(Record(layer, x, g))
        return (g if ctx.needs_input_grad[0] else None), None, None, None, None


def _shares(records: list[Record]) -> tuple[dict[int, Share], Tensor]:
    """The share of each layer, and the norm of each sample's whole gradient [B]."""
    shares = {id(r.layer): RULES[type(r.layer)](r.layer, r.x, r.g) for r in records}
    return shares, torch.stack([s.squared_norms for s in shares.values()]).sum(0).sqrt()


def _only(kept_B: Tensor, record: Record) -> Record:
    """The record with the rows of some samples set to zero."""

    def keep(t: Tensor) -> Tensor:
        return t.where(kept_B.view(-1, *[1] * (t.dim() - 1)), t.new_zeros(()))

    return Record(record.layer, keep(record.x), keep(record.g))


class OnePassOptimizer(GridOptimizer):
    """`GridOptimizer` with one-pass clipping.

    The loss must be a *sum* over samples. The backward passes before a `step` add up, so a large
    batch can be walked through in pieces: call `accumulate` after each.

    Args:
        model: every trained layer must have a rule in `RULES`; or a compiled program.
        optimizer: over all trained parameters of `model`; or over the program's `flat`.
        most_expected: records that a batch can be expected to have, if not `expected_batch_size`:
            what summing them up in float32 adds is counted for so many.
        others: as for `GridOptimizer`.
    """

    def __init__(
        self,
        model: nn.Module | Program,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected_batch_size: float,
        most_expected: float | None = None,
        noise: Noise | None = None,
    ) -> None:
        most_expected = most_expected or expected_batch_size
        self._program = model if isinstance(model, Program) else None
        self._layers = [] if isinstance(model, Program) else list(trained_layers(model))
        self._parameters: list[Any] = [  # Any: Opacus hangs its `summed_grad` on them
            p for layer in self._layers for p in layer.parameters(recurse=False)
        ]
        if self._program is not None:
            self._parameters = [self._program.flat]
        self._records: list[Record] = []
        self._anchor = torch.zeros((), requires_grad=True)
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            noise=noise,
            share=self._program.hold_sums(most_expected) if self._program else 0.0,
        )
        for p in self._parameters:
            p.requires_grad_(False)  # no ordinary weight gradient
        self._hooks = [layer.register_forward_hook(self._tap) for layer in self._layers]

    @property
    def params(self) -> list[nn.Parameter]:
        """The trained parameters, layer by layer."""
        return self._parameters

    @property
    def grad_samples(self) -> list[Tensor]:
        """Never materialised; Opacus asks only whether there is something to train."""
        return [self._anchor] * len(self._parameters)

    @property
    def accumulated_iterations(self) -> int:
        """One logical batch a step, however many pieces it came in."""
        return 1

    def accumulate(self, num_records: int | None = None) -> None:
        """Clip what the last backward pass left, and add it to the sums.

        A record whose gradient is not finite adds nothing.

        Args:
            num_records: in the last pass; each layer must have seen as many rows.

        Raises:
            ModelError: it has not, or a layer was used twice.
        """
        if len({id(r.layer) for r in self._records}) != len(self._records):
            raise ModelError(
                "a layer is used twice in one pass: its gradients would be clipped apart"
            )
        records = list(self._records)
        self._records.clear()
        if not records:
            return
        for record in records:
            require_row_a_record(len(record.g), num_records or len(records[0].g))
        shares, norms_B = _shares(records)
        if not (finite_B := norms_B.isfinite()).all():
            # Infinity times a clip factor of zero would be no number.
            shares, norms_B = _shares([_only(finite_B, record) for record in records])
        c_B = self.factors(norms_B)
        sums = dict(zip(map(id, self._parameters), self._sums, strict=True))
        for layer in self._layers:
            if (share := shares.get(id(layer))) is None:
                continue
            parameters: Iterator[Any] = layer.parameters(recurse=False)
            for p, total in zip(parameters, share.weighted_sum(c_B), strict=True):
                p.summed_grad = sums[id(p)].add_(total.view_as(p))

    def accumulate_compiled(self, x: Tensor, y: Tensor) -> None:
        """As `accumulate`, without a pass before: softmax cross-entropy of x [B, ...] and y [B]."""
        assert self._program is not None
        self._program.add_clipped_sum(x, y, self.limit, self._total)

    def clip_and_accumulate(self) -> None:
        """As `accumulate`; parameters that no sample reached get a sum of zero."""
        self.accumulate()
        for p, total in zip(self._parameters, self._sums, strict=True):
            p.summed_grad = total

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._records.clear()
        self._total.zero_()
        for p in self._parameters:
            p.summed_grad = p.grad = None

    def detach(self) -> None:
        """Give the model back as it was."""
        for hook in self._hooks:
            hook.remove()
        for p in self._parameters:
            p.requires_grad_(True)

    def _tap(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        tapped: Tensor = _Tap.apply(output, self._anchor, layer, inputs[0].detach(), self._records)
        return tapped
