"""Compiled layers equal torch's own, in value and in gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clients.layers import MaxPool2d


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 3)], *[st.integers(1, 4)], *[st.integers(5, 12)] * 2),
    size=st.integers(1, 5),
    stride=st.integers(1, 4),
    ties=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_max_pooling_is_torch_s(shape, size, stride, ties, seed):
    """Bit for bit: ties go to the first maximum, also those that are not zero."""
    torch.manual_seed(seed)
    x = torch.randn(shape)
    if ties:
        x = x.round()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours = MaxPool2d(size, stride)(a)
    theirs = nn.functional.max_pool2d(b, size, stride) if len(x) else ours.detach()
    assert torch.equal(ours, theirs)
    if len(x):
        g = torch.randn_like(ours).round(decimals=2)
        ours.backward(g)
        theirs.backward(g)
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_max_pooling_of_strange_values_and_layouts():
    x = torch.randn(2, 3, 6, 6)
    x[0, 0, 2, 2], x[0, 1, 3, 3], x[1, 2, 0, 0] = float("nan"), float("inf"), -float("inf")
    expected = nn.functional.max_pool2d(x, 2, 1)
    pool = MaxPool2d(2, 1)
    assert torch.equal(pool(x).nan_to_num(7.0), expected.nan_to_num(7.0))
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pool(last).nan_to_num(7.0), expected.nan_to_num(7.0))
    assert torch.equal(pool(x.double()).nan_to_num(7.0), expected.double().nan_to_num(7.0))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_max_pooling_has_the_right_derivative(size):
    """Against finite differences, through torch's own path for doubles."""
    x = torch.randperm(2 * 36).double().view(1, 2, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(MaxPool2d(size, 1), (x,))
    single = x.detach().float().requires_grad_()
    MaxPool2d(size, 1)(single).square().sum().backward()
    MaxPool2d(size, 1)(x).square().sum().backward()
    assert torch.equal(single.grad.double(), x.grad)
