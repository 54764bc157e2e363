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
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from privacy.dp.compiled import Program
from privacy.dp.noise import Noise
from privacy.dp.optimizer import GridOptimizer
from privacy.dp.rules import (
    RULES,
    SEQUENCES,
    Call,
    Share,
    materialised,
    require_apart,
    rule_of,
    way_of,
)
from privacy.errors import ModelError


class Record(NamedTuple):
    """What one call of a layer leaves behind in one backward pass."""

    layer: nn.Module
    call: Call
    g: tuple[Tensor, ...]


class Use(NamedTuple):
    """The share of some parameters, in the order of its sums."""

    parameters: list[nn.Parameter]
    share: Share


def trained_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers that own trainable parameters.

    Raises:
        ModelError: one mixes records, or is frozen in part.
    """
    for _, layer in _named(model):
        yield layer


def ways(model: nn.Module) -> dict[str, str]:
    """By which way each trained layer's per-sample gradients are found, by its name.

    Raises:
        ModelError: as `trained_layers`.
    """
    return {name: way_of(layer) for name, layer in _named(model)}


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inside: set[int] = set()  # of layers that use their parts' weights themselves
    for name, layer in model.named_modules():
        if type(layer) in SEQUENCES:
            inside.update(id(part) for part in layer.modules() if part is not layer)
        if id(layer) in inside or not parameters_of(layer):
            continue
        require_apart(name, layer)
        own = layer.parameters(recurse=False)
        if type(layer) in RULES and not all(p.requires_grad for p in own):
            raise ModelError(f"layer {name}: frozen in part; freeze all of its parameters or none")
        yield name, layer


def parameters_of(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters that a layer accounts for, by name."""
    whole = type(layer) in SEQUENCES
    named = layer.named_parameters(recurse=whole, remove_duplicate=False)
    return {name: p for name, p in named if p.requires_grad}


def require_row_a_record(rows: int, num_records: int) -> None:
    """Refuse, by ModelError, a layer in whose batch records do not stand one by one."""
    if rows != num_records:
        raise ModelError(
            f"a layer saw {rows} rows for {num_records} records: keep the batch first and whole, "
            "and put positions in a later axis"
        )


class _Tap(torch.autograd.Function):
    """The identity, which on its way back notes the gradients of a layer's outputs.

    An output that is the layer's own goes on marked as changed, not as a view: so activations may
    work in place. What may be a view of something else is copied for the same end."""

    @staticmethod
    def forward(
        ctx: Any, note: Callable[..., None], own: bool, anchor: Tensor, *outputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.note = note
        if not own:
            return tuple(y.clone() for y in outputs)
        ctx.mark_dirty(*outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        ctx.note(g)
        wanted = zip(g, ctx.needs_input_grad[3:], strict=True)
        return (None, None, None, *(gy if needed else None for gy, needed in wanted))


def _only(kept_B: Tensor, t: Tensor) -> Tensor:
    """The rows of some samples, and zeros for the others."""
    return t.where(kept_B.view(-1, *[1] * (t.dim() - 1)), t.new_zeros(()))


def _share(
    record: Record, names: list[str], num_records: int | None, kept_B: Tensor | None
) -> Share:
    """The share of a layer's parameters of those names, of the samples that are kept."""
    layer, call, g = record
    if (rule := RULES.get(type(layer))) is not None:
        (x,) = call.inputs or call.named.values()
        require_row_a_record(len(g[0]), num_records or len(g[0]))
        rows = (x, g[0]) if kept_B is None else (_only(kept_B, x), _only(kept_B, g[0]))
        return rule(layer, *rows)
    found = rule_of(layer)(layer, call, g)
    gradients = [found[name] for name in names]
    require_row_a_record(len(gradients[0]), num_records or len(gradients[0]))
    return materialised(*(t if kept_B is None else _only(kept_B, t) for t in gradients))


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
        self._owned = {id(layer): parameters_of(layer) for layer in self._layers}
        unique = {id(p): p for owned in self._owned.values() for p in owned.values()}
        self._parameters: list[Any] = list(
            unique.values()
        )  # Opacus hangs its `summed_grad` on them
        if self._program is not None:
            self._parameters = [self._program.flat]
        self._records: list[Record] = []
        self._at_rest = True  # False while a rule calls a layer again
        self._anchor = torch.zeros((), requires_grad=True)
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            expected_batch_size=expected_batch_size,
            noise=noise,
            share=self._program.hold_sums(most_expected) if self._program else 0.0,
        )
        if self._program is not None:
            self._program.flat.requires_grad_(False)
        self._hooks: list[Any] = []
        for layer in self._layers:
            self._hooks += [
                layer.register_forward_pre_hook(self._enter),
                layer.register_forward_hook(self._tap, with_kwargs=True),
            ]
        if isinstance(model, nn.Module):
            for name, p in model.named_parameters():
                if id(p) in unique:
                    self._hooks.append(p.register_post_accumulate_grad_hook(_outsider(name)))

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
            ModelError: it has not, or a layer has no way to do what it was asked for.
        """
        records = list(self._records)
        self._records.clear()
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
        counts = Counter(id(p) for r in records for p in self._owned[id(r.layer)].values())
        uses: list[Use] = []
        added: dict[int, tuple[nn.Parameter, Tensor]] = {}
        self._at_rest = False
        try:
            for record in records:
                owned = self._owned[id(record.layer)]
                share = _share(record, list(owned), num_records, kept_B)
                if all(counts[id(p)] == 1 for p in owned.values()):
                    uses.append(Use(list(owned.values()), share))
                    continue
                if share.gradients is None:
                    raise ModelError(
                        f"a {type(record.layer).__name__} is used twice in one pass: its gradients "
                        "would be clipped apart"
                    )
                for p, rows in zip(owned.values(), share.gradients(), strict=True):
                    rows = rows.double().reshape(len(rows), p.numel())
                    _, before = added.get(id(p), (p, None))
                    added[id(p)] = (p, rows if before is None else before + rows)
        finally:
            self._at_rest = True
        uses += [Use([p], materialised(rows)) for p, rows in added.values()]
        squares = [use.share.squared_norms for use in uses]
        for squared_B in squares:
            require_row_a_record(len(squared_B), len(squares[0]))
        return uses, torch.stack(squares).sum(0).sqrt()

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

    def _enter(self, layer: nn.Module, _: Any) -> None:
        """Inside its own layer a parameter gets no ordinary gradient."""
        if self._at_rest:
            for p in self._owned[id(layer)].values():
                p.requires_grad_(False)

    def _tap(self, layer: nn.Module, inputs: Any, named: Any, output: Any) -> Any:
        if not self._at_rest:
            return None
        for p in self._owned[id(layer)].values():
            p.requires_grad_(True)
        if not torch.is_grad_enabled():
            return None
        call = Call(
            *tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, (inputs, named))
        )
        given = [t for t in tree_flatten(call)[0] if isinstance(t, Tensor)]
        versions = [t._version for t in given]

        def note(g: tuple[Tensor, ...]) -> None:
            if [t._version for t in given] != versions:
                raise ModelError(f"{type(layer).__name__}: its input was changed in place after it")
            self._records.append(Record(layer, call, g))

        leaves, tree = tree_flatten(output)
        places = [
            i for i, t in enumerate(leaves) if isinstance(t, Tensor) and t.is_floating_point()
        ]
        if not places:
            raise ModelError(f"{type(layer).__name__}: it puts out no tensor to ask a gradient of")
        own = type(layer) in RULES
        tapped = _Tap.apply(note, own, self._anchor, *(leaves[i] for i in places))
        for i, y in zip(places, tapped, strict=True):
            leaves[i] = y
        return tree_unflatten(leaves, tree)


def _outsider(name: str) -> Callable[[Tensor], None]:
    """What refuses an ordinary gradient of a parameter, which would escape the clip."""

    def refuse(p: Tensor) -> None:
        p.grad = None
        raise ModelError(
            f"{name}: used outside of its own layer's forward, where its per-sample gradient is "
            "not seen; give a second layer the same weight, and call that"
        )

    return refuse
