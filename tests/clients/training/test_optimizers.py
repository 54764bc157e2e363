"""SGD on a flat parameter is torch's SGD."""

import pytest
import torch
from torch import nn

from clients.training.optimizers import FlatSGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_flat_sgd_is_torchs(momentum: float) -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.arange(5.0)) for _ in range(2))
    flat = FlatSGD(ours, 0.3, momentum)
    plain = torch.optim.SGD([theirs], lr=0.3, momentum=momentum)
    for _ in range(4):
        gradient = torch.randn(5)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        flat.step()
        plain.step()
        assert torch.equal(ours.grad, gradient)
        assert torch.allclose(ours, theirs)
    flat.zero_grad()
    assert ours.grad is None
