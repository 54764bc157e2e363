"""One-pass per-sample clipping under Opacus's optimizer (book-keeping: Bu et al. 2022).

Opacus's hooks materialise one gradient a sample and a parameter, B x |W| numbers. Here one backward
pass leaves, at each layer, its input x and the gradient g of its output. From the two follow, by
the layer's rule (`privacy.dp.rules`), the per-sample norms and, once the clip factors are known,
the clipped sum. The ordinary weight gradient is never computed. A parameter that is used more than
once, in a layer called twice or tied to another's, has its gradients added record by record.

It is a `GridOptimizer` of Opacus's kind, which adds the noise for all parameters at once. A
compiled program takes the place of autograd where `privacy.dp.compiled` has one.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from privacy.dp.compiled import Program
from privacy.dp.noise import Noise
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.rules import (
    RULES,
    SEVERAL,
    Call,
    Loss,
    Share,
    materialised,
    rule_of,
    softmax_cross_entropy,
)
from privacy.dp.taps import Record, Taps
from privacy.errors import ModelError

Calls = list[tuple[Call, Tensor]]  # of one input [B, ...], and gradients of outputs [B, ...]


class Use(NamedTuple):
    """The share of some parameters, in the order of its sums."""

    parameters: list[nn.Parameter]
    share: Share


def require_row_a_record(rows: int, num_records: int) -> None:
    """Refuse, by ModelError, a layer in whose batch records do not stand one by one."""
    if rows != num_records:
        raise ModelError(
            f"a layer saw {rows} rows for {num_records} records: keep the batch first and whole, "
            "and put positions in a later axis"
        )


def _only(kept_B: Tensor, t: Tensor) -> Tensor:
    """The rows of some samples, and zeros for the others."""
    return t.where(kept_B.view(-1, *[1] * (t.dim() - 1)), t.new_zeros(()))


def _only_of(kept_B: Tensor, call: Call) -> Call:
    """A call with the rows of some samples, and zeros for the others."""
    x, *how = call.inputs
    return call._replace(inputs=(_only(kept_B, x), *how))


def _share(
    record: Record, names: list[str], num_records: int | None, kept_B: Tensor | None
) -> Share:
    """The share of a layer's parameters of those names, of the samples that are kept."""
    layer, call, g = record
    if (rule := RULES.get(type(layer))) is not None:
        x = call.inputs[0] if call.inputs else call.named["input"]
        require_row_a_record(len(g[0]), num_records or len(g[0]))
        rows = (x, g[0]) if kept_B is None else (_only(kept_B, x), _only(kept_B, g[0]))
        return rule(layer, *rows)
    found = rule_of(layer)(layer, call, g)
    gradients = [found[name] for name in names]
    require_row_a_record(len(gradients[0]), num_records or len(gradients[0]))
    return materialised(*(t if kept_B is None else _only(kept_B, t) for t in gradients))


def _together(records: list[Record]) -> tuple[list[tuple[nn.Module, Calls]], list[Record]]:
    """The calls of each layer that has a rule for all of them together; and the other records."""
    found: dict[int, tuple[nn.Module, Calls]] = {}
    others: list[Record] = []
    for record in records:
        if type(record.layer) not in SEVERAL:
            others.append(record)
            continue
        calls = found.setdefault(id(record.layer), (record.layer, []))[1]
        calls.append((record.call, record.g[0]))
    return list(found.values()), others


def _share_of_all(
    layer: nn.Module, calls: Calls, num_records: int | None, kept_B: Tensor | None
) -> Share:
    """As `_share`, of all calls of a layer together."""
    for _, g in calls:
        require_row_a_record(len(g), num_records or len(g))
    if kept_B is not None:
        calls = [(_only_of(kept_B, call), _only(kept_B, g)) for call, g in calls]
    return SEVERAL[type(layer)](layer, calls)


class OnePassOptimizer(GridOptimizer):
    """`GridOptimizer` with one-pass clipping.

    The loss must be a *sum* over samples. The backward passes before a `step` add up, so a large
    batch can be walked through in pieces: call `accumulate` after each.

    Args:
        model: with layers in which records stand apart (`ways`); or a compiled program.
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
        kept: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        most_expected = most_expected or expected_batch_size
        self._program = model if isinstance(model, Program) else None
        self._taps = None if isinstance(model, Program) else Taps(model)
        self._parameters: list[Any] = []  # Any: Opacus hangs its `summed_grad` on them
        if self._taps is not None:
            self._parameters = list(self._taps.parameters)
        if self._program is not None:
            self._parameters = [self._program.flat.requires_grad_(False)]
            self._program.prune((kept or {}).get(self._program.flat))
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            noise=noise,
            share=self._program.hold_sums(most_expected) if self._program else 0.0,
            kept=kept,
        )

    @property
    def params(self) -> list[nn.Parameter]:
        """The trained parameters, layer by layer."""
        return self._parameters

    @property
    def grad_samples(self) -> list[Tensor]:
        """Never materialised; Opacus asks only whether there is something to train."""
        return list(self._parameters)

    @property
    def fills_passes(self) -> bool:
        return self._total.device.type != "cpu"

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
            ModelError: it has not, or a layer has no way to do what it was asked for.
        """
        records = self._taps.take() if self._taps else []
        if not records:
            return
        uses, norms_B = self._uses(records, num_records)
        if not (finite_B := norms_B.isfinite()).all():
            # Infinity times a clip factor of zero would be no number.
            uses, norms_B = self._uses(records, num_records, finite_B)
        c_B = self.factors(norms_B)
        sums = dict(zip(map(id, self._parameters), self._sums, strict=True))
        for use in uses:
            parameters: list[Any] = use.parameters
            for p, total in zip(parameters, use.share.weighted_sum(c_B), strict=True):
                p.summed_grad = sums[id(p)].add_(total.view_as(p))

    def _uses(
        self, records: list[Record], num_records: int | None, kept_B: Tensor | None = None
    ) -> tuple[list[Use], Tensor]:
        """Each parameter's share, and the norm of each sample's whole gradient [B]."""
        assert self._taps is not None
        calls, records = _together(records)
        owned = [self._taps.owned[id(record.layer)] for record in records]
        whole = [self._taps.owned[id(layer)] for layer, _ in calls]
        counts = Counter(id(p) for parameters in owned + whole for p in parameters.values())
        uses = [
            Use(list(named.values()), _share_of_all(layer, rows, num_records, kept_B))
            for (layer, rows), named in zip(calls, whole, strict=True)
        ]
        if any(counts[id(p)] > 1 for named in whole for p in named.values()):
            raise ModelError("a layer that is cut shares its weights with another")
        added: dict[int, tuple[nn.Parameter, Tensor]] = {}
        for record, named in zip(records, owned, strict=True):
            with self._taps.resting():
                share = self._of_kept(_share(record, list(named), num_records, kept_B), named)
            if all(counts[id(p)] == 1 for p in named.values()):
                uses.append(Use(list(named.values()), share))
                continue
            if share.gradients is None:
                raise ModelError(
                    f"a {type(record.layer).__name__} is used twice in one pass: its gradients "
                    "would be clipped apart"
                )
            for p, gradients in zip(named.values(), share.gradients(), strict=True):
                rows = gradients.double().reshape(len(gradients), p.numel())
                _, before = added.get(id(p), (p, None))
                added[id(p)] = (p, rows if before is None else before + rows)
        uses += [Use([p], materialised(rows)) for p, rows in added.values()]
        squares = [use.share.squared_norms for use in uses]
        for squared_B in squares:
            require_row_a_record(len(squared_B), len(squares[0]))
        return uses, torch.stack(squares).sum(0).sqrt()

    def _of_kept(self, share: Share, named: dict[str, nn.Parameter]) -> Share:
        """A layer's share without what is pruned; its gradients are then held, record by record."""
        kept = [self._kept.get(id(p)) for p in named.values()]
        if all(one is None for one in kept):
            return share
        assert (
            share.gradients is not None
        )  # but of layers that are cut, beside which none is pruned
        gradients = zip(share.gradients(), named.values(), kept, strict=True)
        return materialised(
            *(g if one is None else g.view(len(g), *p.shape) * one for g, p, one in gradients)
        )

    def accumulate_compiled(self, x: Tensor, y: Tensor, loss: Loss = softmax_cross_entropy) -> None:
        """As `accumulate`, without a pass before: of a loss of x [B, ...] and targets y."""
        assert self._program is not None
        self._program.add_clipped_sum(x, y, self.limit, self._total, loss)

    def clip_and_accumulate(self) -> None:
        """As `accumulate`; parameters that no sample reached get a sum of zero."""
        self.accumulate()
        for p, total in zip(self._parameters, self._sums, strict=True):
            p.summed_grad = total

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self._taps is not None:
            self._taps.take()
        self._total.zero_()
        for p in self._parameters:
            p.summed_grad = p.grad = None

    def detach(self) -> None:
        """Give the model back as it was."""
        if self._taps is not None:
            self._taps.remove()
        if self._program is not None:
            self._program.prune(None)
        for p in self._parameters:
            p.requires_grad_(True)
