"""Gated recurrent units of a board in numpy: the same bits as c/recurrent.h and recurrent_back.h,
and their definition.

float32, all sums from 0 and in the order of their indices; states before the first are 0. x are
inputs [C], h states [H]; weights lie as torch has them: of inputs W [3 H, C], of states V [3 H, H],
rows of the reset gate, of the update gate, of what is proposed; then biases b [3 H], c [3 H].

1. A gate: sigmoid((sum W x + b) + (sum V h + c)). r is the reset gate, z the update gate.
   Proposed: q = sum V h + c, n = tanh((sum W x + b) + r q). A state: (1 - z) n + z h.
2. sigmoid(x): e = exp(-|x|) as in floats.py, 0 from 80 on; 1 / (1 + e), or e / (1 + e) unless x is
   above 0. tanh(x): e = exp(-|2 x|); (1 - e) / (1 + e), and less than 0 unless x is above 0.
   Both are within 3e-6 of torch's.
3. Back from d, the gradient at a state, times from the last to the first: dn = (d (1 - z))
   (1 - n n), dq = dn r, dr = (dn q) (r (1 - r)), dz = (d (h - n)) (z (1 - z)). The state before
   gets d z, then sum V (dr, dz, dq) over rows; an input sum W (dr, dz, dn).
4. Weights' gradients are sums over times: of W (dr, dz, dn) x, of V (dr, dz, dq) h, of b and c
   those alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clients.firmware.net import Dense
from clients.firmware.numbers.floats import Floats, exponential, in_order
from clients.firmware.plan import Layer

f4 = np.float32
FAR = f4(80)


class Cells(NamedTuple):
    """Weights of a layer: W [3 H, C], V [3 H, H], b [3 H], c [3 H]."""

    of_inputs: Floats
    of_states: Floats
    biases: Floats
    state_biases: Floats


class Units(NamedTuple):
    """At a time, [B, H] each: gates, what is proposed, and of that what states give."""

    reset: Floats
    update: Floats
    proposed: Floats
    of_states: Floats


def cells_of(layer: Layer, held: Dense) -> Cells:
    """Of weights that lie one after another."""
    (c, _, _), (h, _, _) = layer.inputs, layer.outputs
    flat = np.concatenate([part.ravel() for part in held])
    w, v, b, d = np.split(flat, np.cumsum([3 * h * c, 3 * h * h, 3 * h]))
    return Cells(w.reshape(3 * h, c), v.reshape(3 * h, h), b, d)


def recur(layer: Layer, held: Dense, x: Floats) -> Floats:
    """[B, C, 1, T] -> [B, H, 1, T]"""
    cells, states = cells_of(layer, held), np.zeros((len(x), *layer.outputs), f4)
    h = np.zeros((len(x), layer.outputs[0]), f4)
    for t in range(x.shape[3]):
        one = _units(cells, x[:, :, 0, t], h)
        h = (f4(1) - one.update) * one.proposed + one.update * h
        states[:, :, 0, t] = h
    return states


class Back(NamedTuple):
    """Gradients of a layer's weights [B, weights], and at its inputs [B, C, 1, T]."""

    gradient: Floats
    to: Floats


def recur_back(layer: Layer, held: Dense, x: Floats, states: Floats, d: Floats, to: Floats) -> Back:
    """Through time.

    Args:
        d: at states [B, H, 1, T]. `to`: at inputs, to which is added.
    """
    cells, (size, _, times) = cells_of(layer, held), layer.outputs
    x, states, d, to = x[:, :, 0], states[:, :, 0], d[:, :, 0].copy(), to[:, :, 0].copy()
    before = np.concatenate([np.zeros_like(states[:, :, :1]), states[:, :, :-1]], 2)
    gates = np.zeros((4, *states.shape), f4)
    one = f4(1)
    for t in range(times - 1, -1, -1):
        h, given = before[:, :, t], d[:, :, t]
        r, z, n, q = _units(cells, x[:, :, t], h)
        dn = given * (one - z) * (one - n * n)
        gates[:, :, :, t] = dn * q * (r * (one - r)), given * (h - n) * (z * (one - z)), dn, dn * r
        if t:
            d[:, :, t - 1] = _through(
                d[:, :, t - 1] + given * z, cells.of_states, gates[[0, 1, 3], :, :, t]
            )
        to[:, :, t] = _through(to[:, :, t], cells.of_inputs, gates[:3, :, :, t])
    of_inputs, of_states = (
        gates[which].transpose(1, 0, 2, 3).reshape(len(x), 3 * size, times)
        for which in ([0, 1, 2], [0, 1, 3])
    )
    parts = [
        _over_time(of_inputs, x),
        _over_time(of_states[:, :, 1:], states[:, :, :-1]),
        in_order(of_inputs.reshape(-1, times)),
        in_order(of_states.reshape(-1, times)),
    ]
    return Back(np.concatenate([p.reshape(len(x), -1) for p in parts], 1), to[:, :, None])


def _units(cells: Cells, x: Floats, h: Floats) -> Units:
    size = h.shape[1]
    given = _product(cells.of_inputs, x) + cells.biases
    state = _product(cells.of_states, h) + cells.state_biases
    reset, update = np.split(sigmoid(given[:, : 2 * size] + state[:, : 2 * size]), 2, 1)
    q = state[:, 2 * size :]
    return Units(reset, update, hyperbolic_tangent(given[:, 2 * size :] + reset * q), q)


def _product(weights: Floats, x: Floats) -> Floats:
    """[rows, K], [B, K] -> [B, rows]"""
    s = np.zeros((len(x), len(weights)), f4)
    for k in range(x.shape[1]):
        s = s + weights[:, k] * x[:, k, None]
    return s


def _through(s: Floats, weights: Floats, gates: Floats) -> Floats:
    """What rows of weights [3 H, K] pass back of gates [3, B, H], added to s [B, K]."""
    for row, d in enumerate(gates.transpose(0, 2, 1).reshape(len(weights), -1)):
        s = s + weights[row] * d[:, None]
    return s


def _over_time(d: Floats, x: Floats) -> Floats:
    """[B, rows, T], [B, K, T] -> [B, rows, K]"""
    s = np.zeros((*d.shape[:2], x.shape[1]), f4)
    for t in range(d.shape[2]):
        s = s + d[:, :, None, t] * x[:, None, :, t]
    return s


def _falling(x: Floats) -> Floats:
    """exp(-|x|); 0 of what is no number."""
    d = np.where(x > 0, f4(0) - x, x)
    near = d > -FAR
    return np.where(near, exponential(np.where(near, d, f4(0))), f4(0))


def sigmoid(x: Floats) -> NDArray[np.float32]:
    """1 / (1 + exp(-x))"""
    e = _falling(x)
    return np.where(x > 0, f4(1), e) / (f4(1) + e)


def hyperbolic_tangent(x: Floats) -> NDArray[np.float32]:
    """tanh x"""
    e = _falling(x + x)
    t = (f4(1) - e) / (f4(1) + e)
    return np.where(x > 0, t, f4(0) - t)
