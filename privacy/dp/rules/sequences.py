"""Layers over sequences: RNN, GRU, LSTM and attention, whose weights torch uses out of sight.

Each is computed again from what it was called with, so it must not draw at random by itself.

Shapes: B samples, T steps, I inputs of a step, H hidden numbers, O = gates x H; D directions.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from privacy.dp.rules.functional import floating, record_by_record
from privacy.dp.rules.share import Call
from privacy.errors import ModelError

State = tuple[Tensor, ...]


def _gru(gi: Tensor, gh: Tensor, state: State) -> State:
    (ri, zi, ni), (rh, zh, nh) = gi.chunk(3, -1), gh.chunk(3, -1)
    z, n = torch.sigmoid(zi + zh), torch.tanh(ni + torch.sigmoid(ri + rh) * nh)
    return ((1 - z) * n + z * state[0],)


def _lstm(gi: Tensor, gh: Tensor, state: State) -> State:
    i, f, g, o = (gi + gh).chunk(4, -1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _tanh(gi: Tensor, gh: Tensor, state: State) -> State:
    return (torch.tanh(gi + gh),)


def _relu(gi: Tensor, gh: Tensor, state: State) -> State:
    return (torch.relu(gi + gh),)


# As torch's documentation writes each; the new state begins with what the step puts out.
CELLS: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    "GRU": _gru,
    "LSTM": _lstm,
    "RNN_TANH": _tanh,
    "RNN_RELU": _relu,
}


class _Products:
    """Every product with a weight in a pass: its input, and its output, of which to ask gradients.

    A weight that is used at each step has one entry a step: its gradients add.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        named = layer.named_parameters(recurse=False, remove_duplicate=False)
        self._weights = {n: p.detach() for n, p in named}
        self._made: list[tuple[str, str, Tensor, Tensor]] = []

    def of(self, kind: str, suffix: str, x: Tensor) -> Tensor:
        """x [B, ..., I] through the weight and bias of a name: [B, ..., O]."""
        weight, bias = f"weight_{kind}_{suffix}", f"bias_{kind}_{suffix}"
        y = F.linear(x, self._weights[weight], self._weights.get(bias))
        if not y.requires_grad:
            y.requires_grad_()
        self._made.append((weight, bias, x.detach(), y))
        return y

    def gradients(self, outputs: list[Tensor], g: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Of each weight and bias, [B, ...]."""
        asked = [y for *_, y in self._made]
        gys = torch.autograd.grad(outputs, asked, g, allow_unused=True, materialize_grads=True)
        steps: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = {}
        for (weight, bias, x, y), gy in zip(self._made, gys, strict=True):
            pair = (x.reshape(len(x), -1, x.shape[-1]), gy.reshape(len(y), -1, y.shape[-1]))
            steps.setdefault((weight, bias), []).append(pair)
        found: dict[str, Tensor] = {}
        for (weight, bias), pairs in steps.items():
            x_BTI, g_BTO = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
            found[weight] = torch.bmm(g_BTO.transpose(1, 2), x_BTI)
            if bias in self._weights:
                found[bias] = g_BTO.sum(1)
        return found


def recurrent(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """RNN, GRU and LSTM: unrolled once more, with an eye on every product with a weight.

    Raises:
        ModelError: packed or single sequences.
    """
    assert isinstance(layer, nn.RNNBase)
    name = type(layer).__name__
    x, initial = _bound(layer, call)
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise ModelError(f"{name}: give it a padded batch of sequences [B, T, I], not packed ones")
    if not layer.batch_first:
        x = x.transpose(0, 1)
    directions = 2 if layer.bidirectional else 1
    states = _initial(layer, x, initial, directions)
    products, cell = _Products(layer), CELLS[layer.mode]
    last: list[State] = []
    with torch.enable_grad():
        for depth in range(layer.num_layers):
            sides = []
            for side in range(directions):
                suffix = f"l{depth}{'_reverse' if side else ''}"
                state = tuple(part[len(last)] for part in states)
                gi_BTO = products.of("ih", suffix, x)
                out: list[Tensor] = []
                for t in reversed(range(x.shape[1])) if side else range(x.shape[1]):
                    state = cell(gi_BTO[:, t], products.of("hh", suffix, state[0]), state)
                    if layer.proj_size:
                        state = (products.of("hr", suffix, state[0]), *state[1:])
                    out.append(state[0])
                last.append(state)
                sides.append(torch.stack(out[::-1] if side else out, 1))
            x = torch.cat(sides, -1)
    output = x if layer.batch_first else x.transpose(0, 1)
    final = [torch.stack(parts) for parts in zip(*last, strict=True)]
    return products.gradients([output, *final], g)


def _bound(layer: nn.Module, call: Call) -> tuple[Any, Any]:
    bound = inspect.signature(nn.GRU.forward).bind(layer, *call.inputs, **call.named)
    return bound.arguments["input"], bound.arguments.get("hx")


def _initial(layer: nn.RNNBase, x: Tensor, given: Any, directions: int) -> State:
    """The states before the first step, [layers x D, B, H] each."""
    if given is not None:
        return (given,) if isinstance(given, Tensor) else tuple(given)
    count = layer.num_layers * directions
    hidden = x.new_zeros(count, len(x), layer.proj_size or layer.hidden_size)
    if layer.mode != "LSTM":
        return (hidden,)
    return hidden, x.new_zeros(count, len(x), layer.hidden_size)


def attention(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """MultiheadAttention, its projection of the output included, by `torch.func`.

    Raises:
        ModelError: single sequences.
    """
    assert isinstance(layer, nn.MultiheadAttention)
    bound = inspect.signature(nn.MultiheadAttention.forward).bind(layer, *call.inputs, **call.named)
    given = {name: value for name, value in bound.arguments.items() if name != "self"}
    if given["query"].dim() != 3:
        raise ModelError("MultiheadAttention: give it a batch of sequences, not a single one")
    axis = 0 if layer.batch_first else 1
    apart: dict[str, Tensor] = {n: given.pop(n).movedim(axis, 0) for n in ("query", "key", "value")}
    if (padded := given.pop("key_padding_mask", None)) is not None:
        apart["key_padding_mask"] = padded
    mask = given.get("attn_mask")
    if mask is not None and mask.dim() == 3:  # a mask of each record and head, one after another
        apart["attn_mask"] = given.pop("attn_mask").unflatten(0, (-1, layer.num_heads))

    def one(parameters: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(apart, inputs, strict=True))
        for name in ("query", "key", "value"):
            named[name] = named[name].unsqueeze(axis)
        if "key_padding_mask" in named:
            named["key_padding_mask"] = named["key_padding_mask"][None]
        out, *weights = floating(functional_call(layer, parameters, (), named | given))
        return (out.squeeze(axis), *(w[0] for w in weights))

    named = layer.named_parameters(remove_duplicate=False)
    own = {n: p.detach() for n, p in named if p.requires_grad}
    rows = (g[0].movedim(axis, 0), *g[1:])
    return record_by_record("MultiheadAttention", one, own, list(apart.values()), rows)
