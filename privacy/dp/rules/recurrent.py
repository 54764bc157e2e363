"""RNN, GRU and LSTM: back through time, with an eye on the gates, whose gradients torch keeps.

The states of all steps come from torch once more, layer by layer. From them follow the gates of all
steps at once, and what a gate's gradient is of the gradient of its step's state: a slope, so that
the way back through time is a few products a step.

Shapes: T steps, B samples, I inputs, H hidden numbers, R numbers that go round (H, or those of a
projection), O = gates x H.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from privacy.dp.rules.share import Call
from privacy.errors import ModelError

MOST_NUMBERS = 1 << 20  # of gates at once: so many records are taken together

FORWARD: dict[str, Callable[..., Any]] = {
    "GRU": torch.gru,
    "LSTM": torch.lstm,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


class Pass(NamedTuple):
    """One layer in one direction, as it went: time goes forward in it.

    Attributes:
        suffix: of its weights' names.
        x: [T, B, I].
        before: the state that each step found, [T, B, R].
        cell: an LSTM's before the first step, [B, H].
    """

    suffix: str
    x: Tensor
    before: Tensor
    cell: Tensor | None


class Gates(NamedTuple):
    """Gradients of what the products of each step put out.

    Attributes:
        inputs: of the input's product, [T, B, O].
        states: of the state's, [T, B, O].
        hidden: what a projection reads, [T, B, H],
        projected: and the gradient of what it puts out, [T, B, R].
    """

    inputs: Tensor
    states: Tensor
    hidden: Tensor | None = None
    projected: Tensor | None = None


Weights = dict[str, Tensor]
# From the gates' two parts [T, B, O], the pass, the gradient of each step's output [T, B, R] (which
# may be overwritten), that of the last cell [B, H], and the weights of this layer.
Back = Callable[[Tensor, Tensor, Pass, Tensor, Tensor | None, Weights], Gates]


def _gru(gi: Tensor, gh: Tensor, at: Pass, g: Tensor, _: Tensor | None, weights: Weights) -> Gates:
    gi_r, gi_z, gi_n = gi.chunk(3, -1)
    gh_r, gh_z, gh_n = gh.chunk(3, -1)
    r, z = torch.sigmoid(gi_r + gh_r), torch.sigmoid(gi_z + gh_z)
    n = torch.tanh(torch.addcmul(gi_n, r, gh_n))
    of_n = (1 - z) * (1 - n * n)
    gates = torch.stack([of_n * gh_n * r * (1 - r), (at.before - n) * z * (1 - z), of_n * r], 2)
    back = torch.zeros_like(g[0])
    for t in reversed(range(len(g))):
        state = g[t].add_(back)
        gates[t].mul_(state[:, None])
        back = torch.addmm(state * z[t], gates[t].flatten(1), weights["hh"])
    inputs = torch.cat([gates[:, :, 0], gates[:, :, 1], of_n * g], -1)
    return Gates(inputs, gates.flatten(2))


def _lstm(
    gi: Tensor, gh: Tensor, at: Pass, g: Tensor, last: Tensor | None, weights: Weights
) -> Gates:
    i, f, n, o = (gi + gh).chunk(4, -1)
    i, f, n, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(n), torch.sigmoid(o)
    assert at.cell is not None
    cells = [at.cell]
    for t in range(len(g)):
        cells.append(torch.addcmul(i[t] * n[t], f[t], cells[-1]))
    before, after = torch.stack(cells[:-1]), torch.tanh(torch.stack(cells[1:]))
    gates = torch.stack(
        [n * i * (1 - i), before * f * (1 - f), i * (1 - n * n), after * o * (1 - o)], 2
    )
    of_cell, project = o * (1 - after * after), weights.get("hr")
    back = torch.zeros_like(g[0])
    cell = torch.zeros_like(at.cell) if last is None else last
    for t in reversed(range(len(g))):
        state = g[t].add_(back)
        if project is not None:
            state = state @ project
        cell = torch.addcmul(cell, state, of_cell[t])
        gates[t, :, :3].mul_(cell[:, None])
        gates[t, :, 3].mul_(state)
        cell = cell * f[t]
        back = gates[t].flatten(1) @ weights["hh"]
    both = gates.flatten(2)
    return Gates(both, both) if project is None else Gates(both, both, o * after, g)


def _tanh(
    gi: Tensor, gh: Tensor, at: Pass, g: Tensor, last: Tensor | None, weights: Weights
) -> Gates:
    return _plain(1 - torch.tanh(gi + gh).square(), g, weights)


def _relu(
    gi: Tensor, gh: Tensor, at: Pass, g: Tensor, last: Tensor | None, weights: Weights
) -> Gates:
    return _plain((gi + gh > 0).to(g), g, weights)


def _plain(slope: Tensor, g: Tensor, weights: Weights) -> Gates:
    back = torch.zeros_like(g[0])
    for t in reversed(range(len(g))):
        back = slope[t].mul_(g[t] + back) @ weights["hh"]
    return Gates(slope, slope)


# Each the derivative of what torch's documentation writes.
BACK: dict[str, Back] = {"GRU": _gru, "LSTM": _lstm, "RNN_TANH": _tanh, "RNN_RELU": _relu}


def recurrent(layer: nn.Module, call: Call, g: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Gradients of each weight and bias, [B, ...].

    Raises:
        ModelError: packed or single sequences.
    """
    assert isinstance(layer, nn.RNNBase)
    bound = inspect.signature(nn.GRU.forward).bind(layer, *call.inputs, **call.named)
    x, given = bound.arguments["input"], bound.arguments.get("hx")
    if not isinstance(x, Tensor) or x.dim() != 3:
        raise ModelError(
            f"{type(layer).__name__}: give it a padded batch of sequences [B, T, I], not packed "
            "ones"
        )
    outputs, *ends = g
    if layer.batch_first:
        x, outputs = x.transpose(0, 1), outputs.transpose(0, 1)
    starts = _starts(layer, x, given)
    at_once = max(1, MOST_NUMBERS // (len(x) * len(layer.weight_hh_l0)))
    parts = [
        _gradients(layer, x_TBI, states[: len(starts)], g_TBR, states[len(starts) :])
        for x_TBI, g_TBR, *states in zip(
            *(t.split(at_once, 1) for t in (x, outputs, *starts, *ends)), strict=True
        )
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _starts(layer: nn.RNNBase, x_TBI: Tensor, given: Any) -> tuple[Tensor, ...]:
    """The states before the first step, [layers x directions, B, ...] each."""
    if given is not None:
        return (given,) if isinstance(given, Tensor) else tuple(given)
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    state = x_TBI.new_zeros(count, x_TBI.shape[1], layer.proj_size or layer.hidden_size)
    if layer.mode != "LSTM":
        return (state,)
    return state, x_TBI.new_zeros(count, x_TBI.shape[1], layer.hidden_size)


def _gradients(
    layer: nn.RNNBase, x: Tensor, starts: list[Tensor], g: Tensor, ends: list[Tensor]
) -> dict[str, Tensor]:
    """Of inputs [T, B, I] and the gradients of outputs [T, B, R x directions] and last states."""
    sides = 2 if layer.bidirectional else 1
    passes: list[list[Pass]] = []
    for depth in range(layer.num_layers):
        ways = [_forward(layer, x, starts, depth, side, sides) for side in range(sides)]
        passes.append([way for way, _ in ways])
        x = torch.cat([out for _, out in ways], -1)
    found: dict[str, Tensor] = {}
    for depth in reversed(range(layer.num_layers)):
        below: list[Tensor] = []
        for side, (at, g_TBR) in enumerate(zip(passes[depth], g.chunk(sides, -1), strict=True)):
            g_TBR = _in_time(g_TBR, side).clone(memory_format=torch.contiguous_format)
            end = [states[depth * sides + side] for states in ends]
            g_TBR[-1] += end[0]
            weights = _weights(layer, at.suffix)
            gi, gh = (_product(weights, kind, t) for kind, t in (("ih", at.x), ("hh", at.before)))
            gates = BACK[layer.mode](gi, gh, at, g_TBR, end[1] if len(end) > 1 else None, weights)
            found |= _of_weights(layer, at, gates)
            if depth:
                below.append(_in_time(gates.inputs @ weights["ih"], side))
        g = sum(below[1:], below[0]) if depth else g
    return found


def _in_time(t: Tensor, side: int) -> Tensor:
    """As the direction of a side has it; and back again."""
    return t.flip(0) if side else t


def _weights(layer: nn.RNNBase, suffix: str) -> Weights:
    """Those of one layer and direction, by "ih", "hh", "hr", and biases by "b_ih", "b_hh"."""
    found: Weights = {}
    for name, p in layer.named_parameters(recurse=False, remove_duplicate=False):
        what, kind, where = name.split("_", 2)
        if where == suffix:
            found[kind if what == "weight" else f"b_{kind}"] = p.detach()
    return found


def _product(weights: Weights, kind: str, x: Tensor) -> Tensor:
    return nn.functional.linear(x, weights[kind], weights.get(f"b_{kind}"))


def _forward(
    layer: nn.RNNBase, x: Tensor, starts: list[Tensor], depth: int, side: int, sides: int
) -> tuple[Pass, Tensor]:
    """One layer in one direction, and what it puts out [T, B, R], by torch's own kernel."""
    suffix = f"l{depth}{'_reverse' if side else ''}"
    weights, x = _weights(layer, suffix), _in_time(x, side)
    state, *cell = (part[depth * sides + side] for part in starts)
    order = [weights[kind] for kind in ("ih", "hh", "b_ih", "b_hh", "hr") if kind in weights]
    first = [part[None].contiguous() for part in (state, *cell)]
    with torch.no_grad():
        out, *_ = FORWARD[layer.mode](
            x, first if cell else first[0], order, layer.bias, 1, 0.0, False, False, False
        )
    before = torch.cat([state[None], out[:-1]])
    return Pass(suffix, x, before, cell[0] if cell else None), _in_time(out, side)


def _of_weights(layer: nn.RNNBase, at: Pass, gates: Gates) -> dict[str, Tensor]:
    """[B, ...] of each weight and bias of a pass."""
    found = {
        f"weight_ih_{at.suffix}": _summed(gates.inputs, at.x),
        f"weight_hh_{at.suffix}": _summed(gates.states, at.before),
    }
    if layer.bias:
        found[f"bias_ih_{at.suffix}"] = gates.inputs.sum(0)
        found[f"bias_hh_{at.suffix}"] = gates.states.sum(0)
    if gates.projected is not None and gates.hidden is not None:
        found[f"weight_hr_{at.suffix}"] = _summed(gates.projected, gates.hidden)
    return found


def _summed(g_TBO: Tensor, x_TBI: Tensor) -> Tensor:
    """A weight's gradients over all steps, [B, O, I]."""
    return torch.bmm(g_TBO.permute(1, 2, 0), x_TBI.transpose(0, 1))
