"""Taps: what each trained layer leaves behind in a pass, its calls and its outputs' gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from privacy.dp.rules import RULES, SEQUENCES, Call, require_apart, way_of
from privacy.errors import ModelError

CONSTANTS = bool | int | float | str | torch.dtype | torch.device | None


class Record(NamedTuple):
    """What one call of a layer leaves behind in one backward pass."""

    layer: nn.Module
    call: Call
    g: tuple[Tensor, ...]


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
        trained = bool(parameters_of(layer)) and id(layer) not in inside
        require_apart(name, layer, trained=trained)
        if not trained:
            continue
        own = layer.parameters(recurse=False)
        if type(layer) in RULES and not all(p.requires_grad for p in own):
            raise ModelError(f"layer {name}: frozen in part; freeze all of its parameters or none")
        yield name, layer


def parameters_of(layer: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters that a layer accounts for, by name."""
    whole = type(layer) in SEQUENCES
    named = layer.named_parameters(recurse=whole, remove_duplicate=False)
    return {name: p for name, p in named if p.requires_grad}


class Taps:
    """Hooks on the trained layers of a model, until `remove`.

    Inside its own layer a parameter gets no ordinary gradient. Outside, where no tap sees what it
    does, one is refused: it would be a part of the gradient that no clip knows of.

    Attributes:
        records: of the passes since they were taken out.
        owned: parameters by name, by the layer's id.
        parameters: all of them, once each, layer by layer.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = list(trained_layers(model))
        self.records: list[Record] = []
        self.owned = {id(layer): parameters_of(layer) for layer in layers}
        unique = {id(p): p for owned in self.owned.values() for p in owned.values()}
        self.parameters = list(unique.values())
        self._anchor = torch.zeros((), requires_grad=True)
        self._hooks: list[Any] = []
        self._at_rest = False
        for layer in layers:
            self._hooks += [
                layer.register_forward_pre_hook(self._enter),
                layer.register_forward_hook(self._tap, with_kwargs=True),
            ]
        for layer in model.modules():
            if isinstance(layer, _InstanceNorm) and not parameters_of(layer):
                self._hooks.append(layer.register_forward_hook(_ask_in_order))
        for name, p in model.named_parameters():
            if id(p) in unique:
                self._hooks.append(p.register_post_accumulate_grad_hook(_outsider(name)))

    def take(self) -> list[Record]:
        """The records so far, which are then forgotten."""
        taken = list(self.records)
        self.records.clear()
        return taken

    @contextmanager
    def resting(self) -> Iterator[None]:
        """A rule may call a layer again, and nothing is noted."""
        self._at_rest = True
        try:
            yield
        finally:
            self._at_rest = False

    def remove(self) -> None:
        """Give the model back as it was."""
        for hook in self._hooks:
            hook.remove()
        for p in self.parameters:
            p.requires_grad_(True)

    def _enter(self, layer: nn.Module, _: Any) -> None:
        if not self._at_rest:
            for p in self.owned[id(layer)].values():
                p.requires_grad_(False)

    def _tap(self, layer: nn.Module, inputs: Any, named: Any, output: Any) -> Any:
        if self._at_rest:
            return None
        for p in self.owned[id(layer)].values():
            p.requires_grad_(True)
        if not torch.is_grad_enabled():
            return None
        call = Call(
            *tree_map(lambda t: t.detach() if isinstance(t, Tensor) else t, (inputs, named))
        )
        leaves, tree = tree_flatten(output)
        given = [t for t in tree_flatten(call)[0] if isinstance(t, Tensor)]
        if type(layer) not in RULES:  # who wrote a rule knows how records lie in it
            _require_plain(layer, [*leaves, *tree_flatten(call)[0]])
        versions = [t._version for t in given]

        def note(g: tuple[Tensor, ...]) -> None:
            if [t._version for t in given] != versions:
                raise ModelError(f"{type(layer).__name__}: its input was changed in place after it")
            self.records.append(Record(layer, call, g))

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


def _require_plain(layer: nn.Module, values: list[Any]) -> None:
    if odd := [type(v).__name__ for v in values if not isinstance(v, Tensor | CONSTANTS)]:
        raise ModelError(
            f"{type(layer).__name__}: a {odd[0]} goes in or out, in which records do not show one "
            "by one; use padded tensors, numbers and words"
        )


def _ask_in_order(_: nn.Module, __: Any, output: Tensor) -> None:
    """Have the gradient of an output come in the order of its numbers.

    Of one record alone, torch's instance norm takes another order of axes for this one (as of
    2.3), so that its gradient would not be the one that it has beside others.
    """
    if output.requires_grad:
        output.register_hook(torch.Tensor.contiguous)


def _outsider(name: str) -> Callable[[Tensor], None]:
    """What refuses an ordinary gradient of a parameter, which would escape the clip."""

    def refuse(p: Tensor) -> None:
        p.grad = None
        raise ModelError(
            f"{name}: used outside of its own layer's forward, where its per-sample gradient is "
            "not seen; give a second layer the same weight, and call that"
        )

    return refuse


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
        # In order: see `_ask_in_order`.
        return (None, None, None, *(gy.contiguous() if needed else None for gy, needed in wanted))
