"""GroupNorm in the place of BatchNorm, told line by line."""

import pytest
import torch
from torch import nn

from privacy.dp.rules import without_batch_norm
from privacy.dp.training import require_private
from privacy.errors import ModelError


class Block(nn.Module):
    """Two uses of one norm, one of a vector, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 3)
        self.norm = self.again = nn.BatchNorm2d(48, eps=1e-3)
        self.head = nn.Sequential(nn.Linear(48, 7), nn.BatchNorm1d(7, affine=False))
        self.kept = nn.BatchNorm1d(7).requires_grad_(False).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(torch.relu(self.norm(self.conv(x))))
        return self.kept(self.head(x.mean((2, 3))))


def test_each_batch_norm_is_replaced_and_told() -> None:
    model = Block()
    nn.init.normal_(model.norm.weight)
    weight = model.norm.weight.detach().clone()
    with pytest.raises(ModelError, match="BatchNorm"):
        require_private(model)
    same, notices = without_batch_norm(model)
    assert same is model
    require_private(model)
    assert notices == [
        "layer norm: GroupNorm(24, 48) stands for BatchNorm2d, which mixes records",
        "layer head.1: GroupNorm(1, 7) stands for BatchNorm1d, which mixes records",
    ]
    assert model.again is model.norm
    assert isinstance(model.norm, nn.GroupNorm)
    assert torch.equal(model.norm.weight, weight)
    assert model.norm.eps == 1e-3
    assert not list(model.head[1].parameters())
    assert isinstance(model.kept, nn.BatchNorm1d)
    x = torch.randn(4, 3, 6, 6)
    assert torch.allclose(model(x)[:2], model(x[:2]), atol=1e-6)
    assert without_batch_norm(model)[1] == []


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 8, 64, 96, 1000])
def test_groups_divide_the_channels(channels: int) -> None:
    """And hold two or more, so that a vector's numbers are not all the same after it."""
    norm, notices = without_batch_norm(nn.BatchNorm1d(channels).double().train(False))
    assert isinstance(norm, nn.GroupNorm)
    assert len(notices) == 1
    assert "layer of the model: " in notices[0]
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 32
    assert channels == 1 or channels // norm.num_groups >= 2
    assert norm.weight.dtype == torch.float64
    assert not norm.training


def test_a_subclass_is_left_and_refused() -> None:
    """It may do more than its parent."""

    class Mine(nn.BatchNorm1d):
        pass

    model, notices = without_batch_norm(nn.Sequential(nn.Linear(3, 3), Mine(3)))
    assert notices == []
    with pytest.raises(ModelError, match=r"layer 1 \(Mine\): it mixes records"):
        require_private(model)
