"""Recurrent layers: a product of all gates a time step, on the input and on the state.

Weights stay from step to step. Steps follow one another, so a step multiplies one position of each
record, and no more. An LSTM's projection is a layer of its own, after each step's gates.
"""

import math
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from clients.chip.workloads.record import Record, tensors
from clients.chip.workloads.workload import Layer, Nest

GATES = {"GRU": 3, "LSTM": 4, "RNN_TANH": 1, "RNN_RELU": 1}


def note_recurrent(
    record: Record, name: str, module: nn.RNNBase, given: list[Any], out: Any
) -> None:
    """Add the layers of a recurrent module that was called with `given` and gave `out`."""
    x: Any = given[0]
    states = record.sources(tensors(given[1:]))
    if isinstance(x, PackedSequence):
        x, steps = x.data, len(x.batch_sizes)
        sequences = math.ceil(x.shape[0] / steps)
    elif x.dim() == 2:
        steps, sequences = x.shape[0], 1
    else:
        sequences, steps = x.shape[:2] if module.batch_first else (x.shape[1], x.shape[0])
    sources, read = record.sources([x]), x.numel()
    kind = module.mode.partition("_")[0].lower()
    for both in _passes(module, sequences):
        made = []
        for one in both:
            inputs = tuple(dict.fromkeys((*sources, *states)))
            made.append(_note(record, f"{kind} {name}", module, one, inputs, read, steps))
        sources, read = tuple(made), steps * sequences * sum(one.state for one in both)
    record.follow(tensors([out]), sources)


def _note(
    record: Record,
    label: str,
    module: nn.RNNBase,
    one: "Pass",
    inputs: tuple[int, ...],
    read: int,
    steps: int,
) -> int:
    weights, biases = (
        [getattr(module, f"{each}{one.suffix}", None) for each in pair]
        for pair in (("weight_ih", "weight_hh"), ("bias_ih", "bias_hh"))
    )
    held = record.hold(tensors(weights), one.nest.weights, tensors(biases))
    index = record.add(
        Layer(
            f"{label}{one.suffix}",
            "recurrent",
            steps * one.outputs,
            inputs,
            one.nest,
            held.bias,
            held.weights,
            held.constants,
            steps=steps,
            state=one.state,
            read=read,
            kept=steps * one.kept,
            lanes=steps * one.gates,
        )
    )
    if one.projected is None:
        return index
    weight = getattr(module, f"weight_hr{one.suffix}")
    held = record.hold([weight], one.projected.weights, ())
    return record.add(
        Layer(
            f"{label}{one.suffix} projection",
            "recurrent",
            steps * one.projected.outputs,
            (index,),
            one.projected,
            held.bias,
            held.weights,
            held.constants,
            steps=steps,
        )
    )


class Pass(NamedTuple):
    """One direction of one layer of a recurrent net.

    Attributes:
        suffix: of the names of its parameters.
        nest: of one step: all gates, on the input and on the state.
        state: channels that are the state.
        outputs: words a step gives.
        gates: words of gates a step, before a projection.
        kept: words a step that the backward pass needs, beside its input and output.
        projected: a step's product of an LSTM's projection, after its gates.
    """

    suffix: str
    nest: Nest
    state: int
    outputs: int
    gates: int
    kept: int
    projected: Nest | None


def _passes(layer: nn.RNNBase, sequences: int) -> list[list[Pass]]:
    """By layer and direction. A record has `sequences` that do not see each other."""
    hidden, projected = layer.hidden_size, layer.proj_size
    state, gates = projected or hidden, GATES[layer.mode]
    directions = 2 if layer.bidirectional else 1
    found = []
    for level in range(layer.num_layers):
        inputs = layer.input_size if level == 0 else directions * state
        both = []
        for suffix in (f"_l{level}", f"_l{level}_reverse")[:directions]:
            both.append(
                Pass(
                    suffix=suffix,
                    nest=Nest(sequences, gates * hidden, inputs + state, 1, 1),
                    state=state,
                    outputs=sequences * hidden,
                    gates=sequences * gates * hidden,
                    kept=sequences * hidden * (gates + (layer.mode == "LSTM")),
                    projected=Nest(sequences, projected, hidden, 1, 1) if projected else None,
                )
            )
        found.append(both)
    return found
