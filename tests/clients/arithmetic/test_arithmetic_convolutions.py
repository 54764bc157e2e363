"""Convolutions on streams are what their circuits compute."""

import numpy as np
import oracles_arithmetic as oracle
import pytest
import torch

from clients.arithmetic import Arithmetic
from clients.arithmetic.streams import registers as streams
from clients.arithmetic.streams.stochastic import StochasticLinear
from clients.layers import MaxPool2d
from privacy.dp.rules import RULES


def patches_of(bits, shape, size, stride, padding):
    """Bits [B, L, C H W] -> [B, P, L, C size size], one window after another."""
    B, L = bits.shape[:2]
    image = bits.reshape(B, L, *shape)
    wide = np.pad(image, ((0, 0), (0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in shape[1:])
    cut = [
        wide[:, :, :, r * stride : r * stride + size, c * stride : c * stride + size]
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack([window.reshape(B, L, -1) for window in cut], 1)


def simulate_convolution(layer, bits, shape, size, stride, padding, zero):
    """Counters' bits [B, L, O, P] of a convolution, cycle by cycle."""
    weights = oracle.encode(
        streams.threshold(layer.weight.detach().numpy(), layer.width),
        layer.registers(layer.weight.shape[1], 1),
    )
    cut = patches_of(bits, shape, size, stride, padding)
    out = [
        oracle.counters(oracle.products(cut[:, p], weights, zero), layer.bound)
        for p in range(cut.shape[1])
    ]
    return np.stack(out, -1)


@pytest.mark.parametrize("grad", [False, True])
def test_a_convolution_is_what_its_circuit_computes(grad):
    """Two convolutions, the first padded, with an OR between them, and the sums of the last."""
    settings_ = Arithmetic(name="stochastic", stream_length=4, counter_bits=5)
    torch.manual_seed(0)
    layers = settings_.layers()
    net = layers.chain(
        [
            *layers.entrance(),
            *layers.conv2d(1, 3, 3, stride=2, padding=1),
            *layers.activation(torch.nn.ReLU),
            MaxPool2d(2, 1),
            *layers.conv2d(3, 2, 2),
            *layers.activation(torch.nn.ReLU),
            torch.nn.Flatten(),
            *layers.linear(8, 3),
        ]
    ).eval()
    dense = [m for m in net if isinstance(m, StochasticLinear)]
    for layer in dense:
        torch.nn.init.uniform_(layer.weight, -1, 1)
    x = torch.rand(3, 1, 7, 8)
    pixels = oracle.encode(
        streams.threshold(2 * x.flatten(1).numpy() - 1, net[0].width), net[0].registers(56, 0)
    )
    first = simulate_convolution(dense[0], pixels, (1, 7, 8), 3, 2, 1, 0).reshape(3, 4, 3, 4, 4)
    pooled = first[..., :-1, :-1] | first[..., 1:, :-1] | first[..., :-1, 1:] | first[..., 1:, 1:]
    flat = pooled.reshape(3, 4, -1)
    second = simulate_convolution(dense[1], flat, (3, 3, 3), 2, 1, 0, -1).reshape(3, 4, -1)
    weights = oracle.encode(
        streams.threshold(dense[2].weight.detach().numpy(), dense[2].width),
        dense[2].registers(second.shape[2], 1),
    )
    expected = oracle.products(second, weights, -1).sum(1) / 4 * net[-1].gain
    assert np.allclose(_logits(net, x, grad), expected, atol=1e-5)


def _logits(net, x, grad):
    with torch.set_grad_enabled(grad):
        return net(x).detach()


def test_a_record_of_a_convolution_is_clipped_by_its_own_gradient():
    """Norms and weighted sums of whole records, as autograd has them one record at a time."""
    layers = Arithmetic(name="stochastic", stream_length=8).layers()
    torch.manual_seed(0)
    layer = layers.conv2d(2, 3, 2)[1]
    x, g = torch.randint(0, 2, (4, 6, 8)) * 2.0 - 1, torch.randint(-1, 2, (4, 6, 3)) * 0.5
    share = RULES[StochasticLinear](layer, x, g)
    each = torch.stack([g[b].T @ x[b] for b in range(4)]).double()
    assert torch.allclose(share.squared_norms, each.square().sum((1, 2)))
    c = torch.tensor([1.0, 0.5, 0.0, 0.25]).double()
    assert torch.allclose(share.weighted_sum(c)[0], (each * c[:, None, None]).sum(0))
