"""Neurons that learn by spike timing, without labels and without a gradient.

A step's input spikes raise the membranes; the neuron that is farthest above its threshold fires
alone, and all membranes begin anew: lateral inhibition at its strongest. With x_i the trace of
input i (which rises by 1 - kept with a spike, and keeps `kept` of itself a step), a record changes
weight and threshold of neuron o by the sums over its T steps

    dw_oi     = s_o (r_o x_i (1 - w_oi) - FORGET w_oi)        pair: r = 1; triplet: r = 1 + y_o
    dtheta_o  = s_o - ACTIVITY / O

(y_o the neuron's own, slower trace before this spike). The first is Diehl and Cook's "Unsupervised
learning of digit recognition using spike-timing-dependent plasticity" (Frontiers in Computational
Neuroscience 2015, section 2.4), potentiation bounded softly; the triplets are Pfister and
Gerstner's (J. Neuroscience 2006); the second their adaptive threshold, by which all neurons come
to fire alike. Weights count by their share of the neuron's sum.

Shapes: B records, T steps, I inputs, O neurons.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clients.arithmetic.local import LocalLayer, by_itself
from clients.arithmetic.settings import Arithmetic
from privacy.compiling import compiled
from privacy.dp.rules import RULES, Share

ACTIVITY = 0.2  # spikes a step that all neurons together come to
FORGET = 0.02  # of a weight, at a spike of its neuron
SLOWER = 0.5  # of what the inputs' trace loses in a step, the neuron's own loses so much
OF_WEIGHTS, OF_THRESHOLDS = 0.2, 1 / 15  # of the learning rate
LEAST = 1e-3  # of weights and thresholds


@compiled  # type: ignore[untyped-decorator]
def _compete(spikes: Any, share: Any, theta: Any, decay: Any, out: Any) -> None:
    """Spikes [B, T, I] through weights [I, O] -> spikes, out [B, T, O] of zeros."""
    u = np.empty(share.shape[1], share.dtype)
    for b in range(spikes.shape[0]):
        u[:] = 0
        for t in range(spikes.shape[1]):
            for o in range(len(u)):
                u[o] *= decay
            for i in range(spikes.shape[2]):
                if spikes[b, t, i] > 0:
                    for o in range(len(u)):
                        u[o] += share[i, o]
            winner, above = -1, u[0] * 0
            for o in range(len(u)):
                if u[o] - theta[o] > above:
                    winner, above = o, u[o] - theta[o]
            if winner >= 0:
                out[b, t, winner] = 1
                u[:] = 0


@compiled  # type: ignore[untyped-decorator]
def _hear(
    spikes: Any, fired: Any, kept: float, triplet: bool, x: Any, y: Any, heard: Any, count: Any
) -> None:
    """Of one record: sum of r_o x_i over the spikes of o, heard [O, I], and spikes, count [O].

    Only the rows of neurons that fired are written.
    """
    x[:], y[:], count[:] = 0.0, 0.0, 0.0
    slowly = 1 - SLOWER * (1 - kept)
    for t in range(len(spikes)):
        for i in range(len(x)):
            x[i] = kept * x[i] + ((1 - kept) if spikes[t, i] > 0 else 0.0)
        for o in range(len(y)):
            if fired[t, o] > 0:
                if count[o] == 0:
                    heard[o] = 0.0
                count[o] += 1
                rise = 1.0 + (y[o] if triplet else 0.0)
                for i in range(len(x)):
                    heard[o, i] += rise * x[i]
            y[o] = slowly * y[o] + (1.0 if fired[t, o] > 0 else 0.0)


@compiled  # type: ignore[untyped-decorator]
def _squares(spikes: Any, fired: Any, w: Any, kept: float, triplet: bool, out: Any) -> None:
    """Of each record the squared norm of all that it changes, out [B]."""
    O, I = w.shape  # noqa: E741
    x, y, heard, count = np.empty(I), np.empty(O), np.empty((O, I)), np.empty(O)
    for b in range(len(out)):
        _hear(spikes[b], fired[b], kept, triplet, x, y, heard, count)
        total = 0.0
        for o in range(O):
            total += (OF_THRESHOLDS * (count[o] / len(spikes[b]) - ACTIVITY / O)) ** 2
            if count[o] > 0:
                for i in range(I):
                    change = heard[o, i] * (1 - w[o, i]) - FORGET * count[o] * w[o, i]
                    total += (OF_WEIGHTS * change) ** 2
        out[b] = total


@compiled  # type: ignore[untyped-decorator]
def _add(
    spikes: Any, fired: Any, w: Any, kept: float, triplet: bool, c: Any, weight: Any, theta: Any
) -> None:
    """Subtract each record's change, times c [B], from weight [O, I] and theta [O]."""
    O, I = w.shape  # noqa: E741
    x, y, heard, count = np.empty(I), np.empty(O), np.empty((O, I)), np.empty(O)
    for b in range(len(c)):
        _hear(spikes[b], fired[b], kept, triplet, x, y, heard, count)
        for o in range(O):
            theta[o] -= c[b] * (OF_THRESHOLDS * (count[o] / len(spikes[b]) - ACTIVITY / O))
            if count[o] > 0:
                for i in range(I):
                    change = heard[o, i] * (1 - w[o, i]) - FORGET * count[o] * w[o, i]
                    weight[o, i] -= c[b] * (OF_WEIGHTS * change)


class PlasticLinear(LocalLayer):
    """Synapses and neurons in one: [B, T, I] of spikes -> [B, T, O] of spikes."""

    def __init__(self, inputs: int, outputs: int, settings: Arithmetic) -> None:
        super().__init__()
        self.decay, self.triplet = settings.decay, settings.learning == "triplet"
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(0.2, 0.8))
        self.threshold = nn.Parameter(torch.full((outputs,), settings.threshold))

    def answer(self, spikes: Tensor) -> Tensor:
        """At most one neuron a step fires."""
        w_OI = self._within()
        out = spikes.new_zeros(*spikes.shape[:2], len(w_OI))
        share = (w_OI / w_OI.sum(1, keepdim=True)).t().to(spikes.dtype).contiguous().numpy()
        theta = self.threshold.detach().clamp(min=LEAST).to(spikes.dtype).numpy()
        _compete(spikes.numpy(), share, theta, share.dtype.type(self.decay), out.numpy())
        return out

    def share(self, spikes: Tensor, told: Tensor | None = None) -> Share:
        """Of weights and thresholds."""
        x, fired = spikes.contiguous().numpy(), self.answer(spikes).numpy()
        seen = x, fired, self._within().double().numpy(), self.decay, self.triplet
        squared = np.empty(len(x))
        _squares(*seen, squared)

        def weighted_sum(c_B: Tensor) -> list[Tensor]:
            total = np.zeros(self.weight.shape), np.zeros(len(self.weight))
            _add(*seen, c_B.double().numpy(), *total)
            return [torch.from_numpy(part) for part in total]

        def gradients() -> list[Tensor]:
            each = [weighted_sum(one) for one in torch.eye(len(x), dtype=torch.float64)]
            return [torch.stack(rows) for rows in zip(*each, strict=True)]

        return Share(torch.from_numpy(squared), weighted_sum, gradients)

    def _within(self) -> Tensor:
        return self.weight.detach().clamp(LEAST, 1)

    def extra_repr(self) -> str:
        """As torch prints its own."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, triplet={self.triplet}"


RULES[PlasticLinear] = by_itself
