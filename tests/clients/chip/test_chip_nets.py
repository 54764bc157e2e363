"""Any net as loop nests: products against those that torch's own counter sees, forward and back."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clients.chip import Workload
from clients.chip.workloads.trace import trace
from clients.chip.workloads.training import tasks

SMALL = st.integers(1, 4)


def macs_by_torch(net, shape, batch, back):
    """Multiply-accumulates of a batch, and of its gradients."""
    net = net.to("meta").train()
    for parameter in net.parameters():
        parameter.grad = None
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = net(torch.zeros(batch, *shape, device="meta"))
        if back:
            (out[0] if isinstance(out, tuple) else out).sum().backward()
    return counter.get_total_flops() // 2


def macs_by_trace(net, shape, batch, step):
    network = trace(net, shape)
    assert network.parameters == sum(p.numel() for p in net.parameters() if p.requires_grad)
    found = tasks(network, Workload(step), batch)
    return sum(task.nest.macs * task.repeat for task in found if task.nest)


class Takes(nn.Module):
    """The first of what a module gives, from tensors laid out as it wants them."""

    def __init__(self, body, same=1):
        super().__init__()
        self.body, self.same = body, same

    def forward(self, x):
        out = self.body(*[x] * self.same)
        return out[0] if isinstance(out, tuple) else out


class Words(nn.Module):
    """Positions and words, as numbers that arrive as floats."""

    def __init__(self, words, width, positions):
        super().__init__()
        self.word = nn.Embedding(words, width)
        self.place = nn.Parameter(torch.zeros(positions, width))

    def forward(self, x):
        return self.word(x.abs().long()) + self.place


class Sum(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Squeezed(nn.Module):
    """A squeeze and excitation, and a product by einsum."""

    def __init__(self, c):
        super().__init__()
        self.down, self.mix = nn.Linear(c, 2), nn.Parameter(torch.zeros(c, 3))
        self.up = nn.Linear(2, c)

    def forward(self, x):
        s = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        x = x * s[:, :, None, None]
        return torch.einsum("bchw,cd->bdhw", x, self.mix)


def conv1d(a, b, c):
    return nn.Conv1d(a, b, 2 * c - 1, padding=c - 1), (a, 5 + b)


def depthwise(a, b, c):
    kept = nn.Conv2d(a, a * b, 3, padding=1, groups=a)
    return nn.Sequential(nn.Conv2d(2, a, 1), kept, nn.ReLU(), nn.Conv2d(a * b, c, 1)), (2, 4, 5)


def conv3d(a, b, c):
    return nn.Sequential(nn.Conv3d(a, b, 3, padding=1), nn.Conv3d(b, c, 1)), (a, 3, 4, 5)


def upward1d(a, b, c):
    return nn.ConvTranspose1d(2 * a, 2 * b, 3, stride=c, groups=2), (2 * a, 6)


def upward(a, b, c):
    return nn.Sequential(nn.Conv2d(a, b, 1), nn.ConvTranspose2d(b, c, 3, stride=2)), (a, 3, 4)


def dense(a, b, c):
    return nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU(), nn.Linear(b, c)), (3, a)


def recurrent(kind, **how):
    def make(a, b, c):
        return Takes(kind(a, b + 1, c % 2 + 1, batch_first=True, **how)), (c + 1, a)

    return make


def cells(a, b, c):
    class Unrolled(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(a, b)

        def forward(self, x):
            state = x.new_zeros(len(x), b)
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return state

    return Unrolled(), (c, a)


def attention(a, b, c):
    return Takes(nn.MultiheadAttention(a * b, a, batch_first=True), 3), (c + 1, a * b)


def encoder(a, b, c):
    return nn.TransformerEncoderLayer(a * b, a, 4 * b, batch_first=True), (c + 1, a * b)


def words(a, b, c):
    return nn.Sequential(Words(3, a, c), nn.Linear(a, b)), (c,)


def residual(a, b, c):
    body = nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(1, b), nn.ReLU())
    return nn.Sequential(Sum(body, nn.Conv2d(a, b, 1)), nn.Conv2d(b, c, 1)), (a, 4, 4)


def squeezed(a, b, c):
    return nn.Sequential(nn.Conv2d(b, a, 1), Squeezed(a)), (b, 2, c)


NETS = {
    "conv1d": conv1d,
    "depthwise": depthwise,
    "conv3d": conv3d,
    "transposed": upward,
    "transposed1d": upward1d,
    "dense": dense,
    "gru": recurrent(nn.GRU),
    "lstm": recurrent(nn.LSTM),
    "rnn both ways": recurrent(nn.RNN, bidirectional=True),
    "lstm projected": recurrent(nn.LSTM, proj_size=1, bidirectional=True),
    "gru without bias": recurrent(nn.GRU, bias=False),
    "cells": cells,
    "attention": attention,
    "encoder": encoder,
    "words": words,
    "residual": residual,
    "squeezed": squeezed,
}


GROUPED = {"depthwise", "transposed1d"}  # whose gradients torch counts as those of one group


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(a=SMALL, b=SMALL, c=SMALL, batch=st.integers(1, 3))
def test_products_are_those_that_torch_counts(name, a, b, c, batch):
    net, shape = NETS[name](a, b, c)
    assert trace(net, shape).notes == ()
    assert macs_by_trace(net, shape, batch, "inference") == macs_by_torch(net, shape, batch, False)


@pytest.mark.parametrize("name", sorted(set(NETS) - GROUPED))
@settings(max_examples=6, deadline=None, derandomize=True)
@given(a=SMALL, b=SMALL, c=SMALL, batch=st.integers(1, 3))
def test_gradients_are_those_that_torch_counts(name, a, b, c, batch):
    net, shape = NETS[name](a, b, c)
    assert macs_by_trace(net, shape, batch, "sgd") == macs_by_torch(net, shape, batch, True)
